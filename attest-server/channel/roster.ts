import { type Role, roleNames } from '../wire/roles.ts';
import type { Session } from './session.ts';
import { Tally } from './tally.ts';

/** A connection as the roster lists it. */
export interface Listed {
  readonly session: Session;
}

/** The connections that proved themselves, one of each node and role, and how many of a role say which version. */
export class Roster<Connection extends Listed> {
  readonly #byKey = new Map<string, Connection>();
  readonly #versions = new Map(roleNames.map((role) => [role, new Tally()]));

  /** Connections in this role, by the version that they say. */
  versions(role: Role): Pick<Tally, 'sums' | 'total'> {
    return this.#versions.get(role) ?? none;
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
    if (hello !== null) this.#versions.get(hello.role)?.add(hello.versions.program, change);
  }
}

const none = new Tally();

/** A node's name has no space. */
function keyOf(name: string, role: Role | undefined): string {
  return `${role} ${name}`;
}
