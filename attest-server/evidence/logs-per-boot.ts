import { Rejection } from '../protocol/rejection.ts';

/** How many boot logs of one node and boot are kept: enough for an agent that is started anew. */
const logsPerBoot = 8;

/** A firmware log does not change within a boot, so a node that sends another one with every answer fills our disk. */
export class LogsPerBoot {
  readonly #sent = new Map<string, { readonly resetCount: number; readonly digests: Set<string> }>();

  /** @throws Rejection `too_large` */
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
}
