import type { Connection } from './connection.ts';
import type { Session } from './session.ts';
import { Tally } from './tally.ts';

/** The connections that proved themselves, one of each node, and how many say which version. */
export class Roster<Node> {
  readonly #byName = new Map<string, Connection<Node>>();
  readonly #versions = new Tally();

  /** Agents by the version that they say. */
  get versions(): ReadonlyMap<string, number> {
    return this.#versions.sums;
  }

  /** @returns the connection of this node before it; itself where it was there already */
  enter(name: string, connection: Connection<Node>): Connection<Node> | null {
    const before = this.#byName.get(name) ?? null;
    if (before === connection) return before;
    if (before !== null) this.#versions.add(versionOf(before), -1);
    this.#byName.set(name, connection);
    this.#versions.add(versionOf(connection), 1);
    return before;
  }

  leave(name: string, connection: Connection<Node>): void {
    if (this.#byName.get(name) !== connection) return;
    this.#byName.delete(name);
    this.#versions.add(versionOf(connection), -1);
  }
}

function versionOf({ session }: { readonly session: Session }): string {
  return session.hello?.versions.program ?? '';
}
