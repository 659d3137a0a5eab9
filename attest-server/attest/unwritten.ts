import type { NodeStatus } from './ports.ts';

/** Until when a node counts as proven, also by the clock that nobody sets, and what is kept of that proof. */
export interface Proof extends Pick<NodeStatus, 'verifiedAt' | 'expiresAt' | 'parts' | 'evidenceDigest'> {
  readonly deadline: number | undefined;
}

interface Node {
  stored: Proof;
  latest: Proof;
}

/**
 * Proofs that were said and are on their way to the disk. One that never gets there must not count: its node falls back to
 * the last one that did.
 */
export class Unwritten {
  readonly #nodes = new Map<string, Node>();
  readonly #show: (name: string, proof: Proof) => void;

  /** @param show puts what is known of a node to this proof, where it is at another one */
  constructor(show: (name: string, proof: Proof) => void) {
    this.#show = show;
  }

  /** @param written settles with the write. @returns the same, once what it means is done */
  follow(name: string, before: Proof, now: Proof, written: Promise<void>): Promise<void> {
    const node = this.#nodes.get(name) ?? { stored: before, latest: now };
    node.latest = now;
    this.#nodes.set(name, node);
    return written.then(
      () => {
        node.stored = now;
        this.#end(name, node, now);
      },
      (error: unknown) => {
        this.#end(name, node, now);
        throw error;
      },
    );
  }

  #end(name: string, node: Node, now: Proof): void {
    // Else a change of the node is on disk since then, or it is none any more.
    if (this.#nodes.get(name) !== node) return;
    if (node.latest === now) this.#nodes.delete(name);
    this.#settle(name, node, now);
  }

  /** What is shown of the node now is on disk, or it is none any more. */
  forget(name: string): void {
    this.#nodes.delete(name);
  }

  /** A later proof that is still under way stays shown where this one was written. */
  #settle(name: string, { stored, latest }: Node, now: Proof): void {
    if (stored === now && latest !== now) return;
    this.#show(name, stored);
  }
}
