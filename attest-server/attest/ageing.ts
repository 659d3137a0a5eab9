import type { Commits } from './commits.ts';
import { counts, overdueStatus } from './next-status.ts';
import type { OwnedNode } from './owned-node.ts';
import type { OwnedNodes } from './owned-nodes.ts';
import type { AttestPorts, NodeStatus } from './ports.ts';
import type { VerdictRows } from './verdict-rows.ts';

/** Between two attempts to store that nodes are overdue, where the store refused it, in milliseconds. */
const retryAfter = 60_000;

/** Effect of time on nodes: a silent node is never trusted, and silence does not clear one that was untrusted. */
export class Ageing {
  readonly #ports: AttestPorts;
  readonly #nodes: OwnedNodes;
  readonly #rows: VerdictRows;
  readonly #commits: Commits;
  /** Monotonic: when what could not be stored is tried again. */
  #retryAt = 0;

  constructor(ports: AttestPorts, nodes: OwnedNodes, rows: VerdictRows, commits: Commits) {
    this.#ports = ports;
    this.#nodes = nodes;
    this.#rows = rows;
    this.#commits = commits;
  }

  /**
   * Ages what is overdue, and writes the rows of joined changes that are due.
   * @throws AggregateError if the store refuses some of it; no node stays trusted for that
   */
  async sweep(): Promise<void> {
    const [now, monotonic] = [this.#ports.now(), this.#ports.monotonic()];
    const isRetried = monotonic >= this.#retryAt;
    const work: Promise<void>[] = [];
    for (const node of this.#nodes.all()) {
      const { name, status, stored, flapping } = node;
      if (status === null) continue;
      const isOverdue = node.isOverdue(monotonic) && status.verdict !== null && counts(status);
      // Of a node that is silent on its own by now it may be stored that it is.
      const isStorable = stored !== null && isRetried && !this.#isOnlyShown(node);
      if (isOverdue || isStorable)
        work.push(this.#nodes.inOrder(name, (current) => this.#age(current, status, now)));
      if (flapping?.isDue(monotonic) === true) work.push(this.#writeFlaps(name));
    }
    const aged = await Promise.allSettled(work);
    const faults = aged.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
    if (faults.length === 0) return;
    this.#retryAt = this.#ports.monotonic() + retryAfter;
    throw new AggregateError(faults, `the state of ${faults.length} nodes could not be written`);
  }

  /** Writes the rows of all joined changes, whether they are due or not. */
  async writeAllFlaps(): Promise<void> {
    const work: Promise<void>[] = [];
    for (const { name, flapping } of this.#nodes.all())
      if (flapping?.isDue(Number.POSITIVE_INFINITY) === true) work.push(this.#writeFlaps(name));
    await Promise.all(work);
  }

  async #age(node: OwnedNode, shown: NodeStatus, now: number): Promise<void> {
    const stored = node.latest;
    // A verdict may have come while this one waited its turn.
    if (node.status !== shown || stored === null || stored.verdict === null) return;
    const aged = overdueStatus(stored, stored.verdict, this.#ports.silenceOf(node.name));
    // Not trusted any longer, though it is not written down.
    const showOnly = () => node.showOverdue({ ...aged, since: stored.expiresAt ?? now }, stored);
    if (this.#isOnlyShown(node)) return showOnly();
    try {
      const change = this.#rows.changed(node, aged, now, [aged.verdict], stored.state, [], false);
      await this.#commits.commit(node, change, stored.state, async () => {
        if (await this.#ports.verdicts.recordAgeing(change.record, stored)) return true;
        await this.#readAgain(node, now);
        return false;
      });
    } catch (error) {
      showOnly();
      throw error;
    }
  }

  /** The one row of what changed since the row before. */
  #writeFlaps(name: string): Promise<void> {
    return this.#nodes.inOrder(name, async (node) => {
      const { status, stored } = node;
      // A state shown but not stored is reported once it can be stored.
      if (status === null || stored !== null || this.#ports.storageFault() !== null) return;
      const joined = this.#rows.joined(node, status, this.#ports.now());
      if (joined !== null) await this.#commits.commit(node, joined, status.state);
    });
  }

  /** That the node is overdue is not its own doing, cannot be stored, or tells nothing: its machine is switched off. */
  #isOnlyShown(node: OwnedNode): boolean {
    const ports = this.#ports;
    const isOurFault = node.faultAt(ports.monotonic(), ports.unknownAfter) !== null;
    return isOurFault || ports.storageFault() !== null || ports.presence.isAway(node.name);
  }

  /** Another program wrote the node's row since it was read: what is there counts, and ages in its turn. */
  async #readAgain(node: OwnedNode, now: number): Promise<void> {
    const found = await this.#ports.verdicts.status(node.name);
    if (found === null) throw new Error(`${node.name} is no node any more, and nobody said so`);
    node.showStored(found);
    node.setDeadline(found.expiresAt, now, this.#ports.monotonic());
  }
}
