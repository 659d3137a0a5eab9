import type { PartName } from '../protocol/evidence.ts';
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

interface Log {
  readonly digest: string;
  readonly bytes: Buffer;
}

interface RememberedBoot {
  readonly bytes: Buffer;
  /** The values that it was replayed onto. */
  readonly banks: readonly QuotedBank[];
  /** User space's log, where one came. */
  readonly userSpace: Log | null;
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

  /**
   * The answer with the bytes of user space's log, also where it only names it.
   * @throws Rejection `malformed` where nobody has them
   */
  async complete(answer: Answer): Promise<Answer> {
    const { boot, userSpace } = answer.parts;
    if (userSpace === undefined || userSpace.bytes !== null) return answer;
    const { digest } = userSpace;
    const remembered = boot && this.#boots.get(boot.digest)?.userSpace;
    const bytes = remembered?.digest === digest ? remembered.bytes : await this.#read(digest);
    return {
      ...answer,
      parts: { ...answer.parts, userSpace: { digest, bytes: bytes ?? missing('userSpace') } },
    };
  }

  async of({ parts: { boot, userSpace } }: Answer): Promise<Evidence['bootLog']> {
    if (boot === undefined) return null;
    const { digest } = boot;
    const remembered = this.#boots.get(digest);
    const bytes = boot.bytes ?? (remembered === undefined ? await this.#read(digest) : null);
    return {
      digest,
      measure: (banks) => {
        if (
          remembered !== undefined &&
          remembered.userSpace?.digest === userSpace?.digest &&
          sameMeasuredPcrs(remembered.banks, banks)
        )
          return remembered.boot;
        const log = bytes ?? remembered?.bytes ?? missing('boot');
        if (userSpace === undefined) return this.#measure(log, digest, banks, null);
        const later = { digest: userSpace.digest, bytes: userSpace.bytes ?? missing('userSpace') };
        return this.#measure(log, digest, banks, later);
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
  #measure(bytes: Buffer, digest: string, banks: readonly QuotedBank[], userSpace: Log | null): MeasuredBoot {
    const boot = measureBoot(bytes, digest, banks, userSpace?.bytes ?? null);
    // What does not replay may be made up anew for each answer, and is worth no memory.
    if (boot.problems.length > 0) return boot;
    this.#makeRoom(digest, bytes.length + (userSpace?.bytes.length ?? 0));
    const own = banks.map((bank) => ({ ...bank, values: Buffer.from(bank.values) }));
    // As it arrived it is a part of Buffer's shared pool, and would keep all of it alive.
    const records = userSpace && Buffer.from(new Uint8Array(userSpace.bytes).buffer);
    this.#boots.set(digest, {
      bytes,
      banks: own,
      userSpace: records && { digest: userSpace.digest, bytes: records },
      boot,
    });
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
    const { bytes, userSpace } = this.#boots.get(digest) ?? {};
    this.#bytes -= (bytes?.length ?? 0) + (userSpace?.bytes.length ?? 0);
    this.#boots.delete(digest);
  }
}

function missing(part: PartName): never {
  const field = `parts.${part}`;
  throw new Rejection('malformed', `the evidence names ${field}, which was not sent`, { field });
}
