import type { ClusterNode, ClusterNodes } from '../marking/ports.ts';

type NodeListener = Parameters<ClusterNodes['onChange']>[0];

/** The Nodes in their latest state from the API. */
export class NodeCache {
  readonly #nodes = new Map<string, ClusterNode>();
  readonly #listeners: NodeListener[] = [];

  get(name: string): ClusterNode | null {
    return this.#nodes.get(name) ?? null;
  }

  all(): Iterable<ClusterNode> {
    return this.#nodes.values();
  }

  onChange(listener: NodeListener): void {
    this.#listeners.push(listener);
  }

  set(after: ClusterNode): void {
    const before = this.get(after.name);
    if (before?.uid === after.uid && before.resourceVersion === after.resourceVersion) return;
    this.#nodes.set(after.name, after);
    this.#tell(after.name, after, before);
  }

  remove(name: string): void {
    const before = this.get(name);
    if (before === null) return;
    this.#nodes.delete(name);
    this.#tell(name, null, before);
  }

  /** A whole list was read: what is not in it is gone. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const name of [...this.#nodes.keys()]) if (!names.has(name)) this.remove(name);
  }

  #tell(...[name, after, before]: Parameters<NodeListener>): void {
    for (const listener of this.#listeners) listener(name, after, before);
  }
}
