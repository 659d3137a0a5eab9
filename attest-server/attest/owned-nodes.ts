import type { AmongNodes } from './among-nodes.ts';
import { noWork, OwnedNode } from './owned-node.ts';
import type { NodeStatus } from './ports.ts';

/** The nodes that this server owns: of no other one anything is in its memory. */
export class OwnedNodes {
  readonly #nodes = new Map<string, OwnedNode>();
  /** Those that were dropped while something was under way. */
  readonly #leaving = new Set<OwnedNode>();
  readonly #among: readonly Pick<AmongNodes<never, never, unknown>, 'release'>[];
  /** @param among whoever knows something of nodes by their names: what only many nodes know, and supplements */
  constructor(among: readonly Pick<AmongNodes<never, never, unknown>, 'release'>[]) {
    this.#among = among;
  }

  get(name: string): OwnedNode | undefined {
    return this.#nodes.get(name);
  }

  /** Creates a missing one. Attack: names that strangers claim; so it is called only after a proof, or for a moment. */
  of(name: string): OwnedNode {
    const known = this.#nodes.get(name);
    if (known !== undefined) return known;
    const node = new OwnedNode(name);
    this.#nodes.set(name, node);
    return node;
  }

  all(): Iterable<OwnedNode> {
    return this.#nodes.values();
  }

  statuses(): readonly NodeStatus[] {
    const statuses: NodeStatus[] = [];
    for (const { status } of this.#nodes.values()) if (status !== null) statuses.push(status);
    return statuses;
  }

  /** Work on one node after the other, and on many nodes side by side. Work that waits for a dropped node is done with its successor. */
  inOrder<T>(name: string, work: (node: OwnedNode) => Promise<T>): Promise<T> {
    const node = this.of(name);
    const doIt = () => (this.#nodes.get(name) === node ? work(node) : this.inOrder(name, work));
    // Well or not, whatever came before it is done.
    const turn = node.lane.then(doIt, doIt);
    const end = () => {
      if (node.lane !== settled) return;
      node.lane = noWork;
      this.#leaving.delete(node);
      if (node.isBlank && this.#nodes.get(name) === node) this.drop(node);
    };
    const settled: Promise<unknown> = turn.then(end, end);
    node.lane = settled;
    return turn;
  }

  /** Knows nothing of the node afterwards. */
  drop(node: OwnedNode): void {
    for (const each of this.#among) each.release(node.name);
    this.#nodes.delete(node.name);
    if (node.lane !== noWork) this.#leaving.add(node);
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await Promise.all([...this.#leaving, ...this.#nodes.values()].map(({ lane }) => lane));
  }
}
