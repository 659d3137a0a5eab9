import type { NodeState } from '../../attest-server/wire/verdict.ts';
import type { Cluster, ClusterNode } from './cluster.ts';
import type { Narrator } from './narrator.ts';

/** In milliseconds. */
export const patience = 60_000;

/** What a story expects, and whether all of it came. */
export class Expectations {
  readonly #cluster: Cluster;
  readonly #narrator: Narrator;
  #failed = false;

  constructor(cluster: Cluster, narrator: Narrator) {
    this.#cluster = cluster;
    this.#narrator = narrator;
  }

  get held(): boolean {
    return !this.#failed;
  }

  /** @param failure what to say where it is not so: `EXPECTED` stands before it */
  that(isSo: boolean, failure: string): void {
    if (isSo) return;
    this.#failed = true;
    this.#narrator.say(`EXPECTED ${failure}.`);
  }

  async state({ name }: ClusterNode, state: NodeState, code: string | null = null): Promise<void> {
    const wanted = code === null ? state : `${state} (${code})`;
    using _wait = this.#narrator.waiting(`${name} to become ${wanted}`, patience);
    const isSo = await this.#cluster.reaches(name, state, code, patience);
    const now = this.#cluster.state(name);
    this.that(
      isSo,
      `${name} to become ${wanted}; it is ${now?.state ?? 'not seen'} (${now?.codes.join(', ') ?? ''})`,
    );
  }

  /** Asked before its state: an answer that was under way may still be judged as that of the boot before. */
  async rebooted({ name }: ClusterNode): Promise<void> {
    using _wait = this.#narrator.waiting(`${name} to prove its new boot`, patience);
    const isSo = await this.#cluster.next(() => this.#cluster.saw(name, 'rebooted'), patience);
    this.that(isSo, `${name} to be known as rebooted before it was judged`);
  }

  /** How many nodes are in each state now; says so at the end. @returns whether everything held, these counts too */
  sum(expected: { readonly untrusted: number; readonly unknown: number }): boolean {
    const { nodes } = this.#cluster;
    const states = nodes.map(({ name }) => this.#cluster.state(name)?.state);
    const count = (state: NodeState) => states.filter((each) => each === state).length;
    const counts = {
      nodes: nodes.length,
      trusted: count('trusted'),
      untrusted: count('untrusted'),
      unknown: count('unknown'),
    };
    if (
      counts.untrusted !== expected.untrusted ||
      counts.unknown !== expected.unknown ||
      counts.trusted !== nodes.length - expected.untrusted - expected.unknown
    )
      this.#failed = true;
    const { noFirewall } = this.#cluster;
    const leftOut = noFirewall === null ? [] : [{ aspect: 'firewall', why: noFirewall } as const];
    this.#narrator.summary(counts, this.held, leftOut);
    return this.held;
  }
}
