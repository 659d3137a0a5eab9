import type { Session } from './session.ts';
import { Tally } from './tally.ts';

/** What is to be known of a connection here. */
export interface Proven {
  readonly session: Session;
}

/** The connections that proved themselves, one of each node, and how many say which version. */
export class Roster<Connection extends Proven> {
  readonly #byName = new Map<string, Connection>();
  readonly #versions = new Tally();

  /** Agents by the version that they say. */
  get versions(): ReadonlyMap<string, number> {
    return this.#versions.sums;
  }

  /** @returns the connection of this node before it; itself where it was there already */
  enter(name: string, connection: Connection): Connection | null {
    const before = this.#byName.get(name) ?? null;
    if (before === connection) return before;
    if (before !== null) this.#versions.add(versionOf(before), -1);
    this.#byName.set(name, connection);
    this.#versions.add(versionOf(connection), 1);
    return before;
  }

  leave(name: string, connection: Connection): void {
    if (this.#byName.get(name) !== connection) return;
    this.#byName.delete(name);
    this.#versions.add(versionOf(connection), -1);
  }
}

function versionOf({ session }: Proven): string {
  return session.hello?.versions.program ?? '';
}
