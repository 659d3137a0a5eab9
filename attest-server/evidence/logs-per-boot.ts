import { ByteBudget, type ByteRate } from '../wire/byte-budget.ts';
import { limits } from '../wire/limits.ts';
import { Rejection } from '../wire/rejection.ts';

/** How many boot logs of one node and boot are kept: enough for an agent that restarts. */
const logsPerBoot = 8;
/** Bytes of logs that a node may bring at once, over all its boots: sixteen of the longest; then two of these an hour. */
const share: ByteRate = { burst: 16 * limits.parts.boot, aDay: 48 * limits.parts.boot };

interface SentLogs {
  readonly resetCount: number;
  readonly digests: ReadonlySet<string>;
  /** Of those that were new. */
  readonly budget: ByteBudget;
}

/**
 * A firmware log does not change within a boot, so a node that sends another one with every answer fills our disk; and so does
 * one that boots again and again.
 */
export class LogsPerBoot {
  readonly #node: string;
  #sent: SentLogs | null = null;

  constructor(node: string) {
    this.#node = node;
  }

  /**
   * @param bytes of the log
   * @param at monotonic milliseconds
   * @throws Rejection `too_large`
   */
  count(resetCount: number, digest: string, bytes: number, at: number): void {
    const before = this.#sent;
    const ofBoot = before?.resetCount === resetCount ? before.digests : none;
    if (ofBoot.has(digest)) return;
    // Counted also where it replays: what nothing measures is free to invent.
    if (ofBoot.size >= logsPerBoot)
      throw new Rejection('too_large', `${this.#node} has sent ${logsPerBoot} boot logs since it booted`, {
        field: 'bootLog',
      });
    const budget = before?.budget ?? new ByteBudget(share, at);
    // The log of the boot before is free, as most machines write the same one each time.
    if (before?.digests.has(digest) !== true) {
      if (!budget.holds(bytes, at))
        throw new Rejection('too_large', `${this.#node} has sent ${share.burst} bytes of boot logs of late`, {
          field: 'bootLog',
        });
      budget.take(bytes);
    }
    this.#sent = { resetCount, digests: new Set([...ofBoot, digest]), budget };
  }
}

const none: ReadonlySet<string> = new Set();
