import { LRUCache } from 'lru-cache';
import type { EndedConnection } from '../formats/silence.ts';
import { atMost } from '../wire/at-most.ts';
import { type Role, roleNames } from '../wire/roles.ts';
import type { Session } from './session.ts';
import { Tally } from './tally.ts';

/** A connection as the roster lists it. */
export interface Listed {
  readonly session: Session;
}

/** Nodes whose last connection is remembered. */
const mostEnded = 65_536;

/**
 * The connections that proved themselves, one of each node and role, and how many of a role say which version; and how the last
 * one of a node's agent ended, while it has no other.
 */
export class Roster<Connection extends Listed> {
  readonly #byKey = new Map<string, Connection>();
  readonly #ended = new LRUCache<string, EndedConnection>(atMost(mostEnded));
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
    this.#ended.delete(key);
    this.#count(connection, 1);
    return before;
  }

  find(name: string, role: Role): Connection | null {
    return this.#byKey.get(keyOf(name, role)) ?? null;
  }

  /** How the agent's latest connection ended; null while it has one, and before the first. */
  ended(name: string): EndedConnection | null {
    return this.#ended.get(keyOf(name, 'agent')) ?? null;
  }

  /** @param ended null: the node is enrolled no more, and forgotten */
  leave(name: string, connection: Connection, ended: EndedConnection | null): void {
    const key = keyOf(name, connection.session.hello?.role);
    if (this.#byKey.get(key) !== connection) return;
    this.#byKey.delete(key);
    if (ended !== null) this.#ended.set(key, ended);
    this.#count(connection, -1);
  }

  /** The node is enrolled no more. */
  forget(name: string): void {
    this.#ended.delete(keyOf(name, 'agent'));
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
