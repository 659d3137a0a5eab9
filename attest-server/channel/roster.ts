import type { Role } from '../wire/messages.ts';
import type { Session } from './session.ts';
import { Tally } from './tally.ts';

/** What is to be known of a connection here. */
export interface Listed {
  readonly session: Session;
}

/** The connections that proved themselves, one of each node and role, and how many agents say which version. */
export class Roster<Connection extends Listed> {
  readonly #byKey = new Map<string, Connection>();
  readonly #versions = new Tally();
  #gates = 0;

  /** Agents by the version that they say. */
  get versions(): ReadonlyMap<string, number> {
    return this.#versions.sums;
  }

  /** Agents of whatever version. */
  get size(): number {
    return this.#versions.total;
  }

  /** Gates that wait: one that opens leaves. */
  get gates(): number {
    return this.#gates;
  }

  /** Once for each connection. @returns the one of this node and role before it */
  enter(name: string, connection: Connection): Connection | null {
    const key = keyOf(name, connection.session.hello?.role);
    const before = this.#byKey.get(key) ?? null;
    if (before !== null) this.#count(before, -1);
    this.#byKey.set(key, connection);
    this.#count(connection, 1);
    return before;
  }

  find(name: string, role: Role): Connection | null {
    return this.#byKey.get(keyOf(name, role)) ?? null;
  }

  leave(name: string, connection: Connection): void {
    const key = keyOf(name, connection.session.hello?.role);
    if (this.#byKey.get(key) !== connection) return;
    this.#byKey.delete(key);
    this.#count(connection, -1);
  }

  #count({ session: { hello } }: Listed, change: number): void {
    if (hello?.role === 'agent') this.#versions.add(hello.versions.program, change);
    else if (hello?.role === 'gate') this.#gates += change;
  }
}

/** A node's name has no space. */
function keyOf(name: string, role: Role | undefined): string {
  return `${role} ${name}`;
}
