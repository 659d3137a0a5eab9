import { Rejection } from '../protocol/rejection.ts';
import { measureBoot } from '../verify/measured-boot.ts';
import type { MeasuredBoot, QuotedBank } from '../verify/proven.ts';
import { sameMeasuredPcrs } from '../verify/quoted-values.ts';
import type { Evidence } from '../verify/verify.ts';
import type { Answer } from './answer.ts';

/** How many parsed boots are kept; an unchanged one is not parsed again. */
const rememberedBoots = 512;
/** And how many bytes their logs have together: one node can make up logs of 2 MiB that replay. */
const rememberedBytes = 64 * 1024 * 1024;

/** How many boot logs of one node and boot are kept: enough for an agent that is started anew. */
const logsPerBoot = 8;

interface RememberedBoot {
  readonly bytes: Buffer;
  /** The values that it was replayed onto. */
  readonly banks: readonly QuotedBank[];
  /** What came of user space's log, base64. */
  readonly userSpaceLog: string | undefined;
  readonly boot: MeasuredBoot;
}

/** The firmware logs that answers rest on: sent with them, remembered, or read from the store. */
export class BootLogs {
  readonly #read: (digest: string) => Promise<Buffer | null>;
  readonly #boots = new Map<string, RememberedBoot>();
  /** Of all logs in `#boots`. */
  #bytes = 0;
  readonly #sent = new Map<string, { readonly resetCount: number; readonly digests: Set<string> }>();

  constructor(read: (digest: string) => Promise<Buffer | null>) {
    this.#read = read;
  }

  async of({ evidence, bootLog }: Answer): Promise<Evidence['bootLog']> {
    const digest = evidence.bootLog;
    if (digest === null) return null;
    const sent = bootLog?.digest === digest ? bootLog.bytes : null;
    const remembered = this.#boots.get(digest);
    const bytes = sent ?? (remembered === undefined ? await this.#read(digest) : null);
    const userSpaceLog = evidence.userspaceLog;
    return {
      digest,
      measure: (banks) => {
        if (
          remembered !== undefined &&
          remembered.userSpaceLog === userSpaceLog &&
          sameMeasuredPcrs(remembered.banks, banks)
        )
          return remembered.boot;
        return this.#measure(bytes ?? remembered?.bytes ?? missing(), digest, banks, userSpaceLog);
      },
    };
  }

  /**
   * A firmware log does not change within a boot, so a node that sends another one with every answer fills our disk.
   * @throws Rejection `too_large`
   */
  count(node: string, resetCount: number, digest: string): void {
    const before = this.#sent.get(node);
    const digests = before?.resetCount === resetCount ? before.digests : new Set<string>();
    // Counted also where it replays: what nothing measures is free to invent.
    if (!digests.has(digest) && digests.size >= logsPerBoot)
      throw new Rejection('too_large', `${node} has sent ${logsPerBoot} boot logs since it booted`, {
        field: 'bootLog',
      });
    digests.add(digest);
    this.#sent.set(node, { resetCount, digests });
  }

  forget(node: string): void {
    this.#sent.delete(node);
  }

  /** A log that does not change within a boot is parsed once per set of PCR values. */
  #measure(
    bytes: Buffer,
    digest: string,
    banks: readonly QuotedBank[],
    userSpaceLog: string | undefined,
  ): MeasuredBoot {
    const later = userSpaceLog === undefined ? null : Buffer.from(userSpaceLog, 'base64');
    const boot = measureBoot(bytes, digest, banks, later);
    // What does not replay may be made up anew for each answer, and is worth no memory.
    if (boot.problems.length > 0) return boot;
    this.#makeRoom(digest, bytes.length);
    const own = banks.map((bank) => ({ ...bank, values: Buffer.from(bank.values) }));
    this.#boots.set(digest, { bytes, banks: own, userSpaceLog, boot });
    return boot;
  }

  #makeRoom(digest: string, wanted: number): void {
    this.#drop(digest);
    for (const oldest of this.#boots.keys()) {
      if (this.#boots.size < rememberedBoots && this.#bytes + wanted <= rememberedBytes) break;
      this.#drop(oldest);
    }
    this.#bytes += wanted;
  }

  #drop(digest: string): void {
    this.#bytes -= this.#boots.get(digest)?.bytes.length ?? 0;
    this.#boots.delete(digest);
  }
}

function missing(): never {
  throw new Rejection('malformed', 'the evidence names a boot log that was not sent', { field: 'bootLog' });
}
