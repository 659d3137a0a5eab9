import type { Bundle } from '../protocol/bundle.ts';
import type { Reference } from '../protocol/reference.ts';
import type { Pin, Store } from '../store/store.ts';
import type { Caller } from './roles.ts';

/** What the API needs of the rest of the server; `main` fills it. */
export interface ApiPorts {
  readonly store: Pick<Store, 'node' | 'nodes' | 'status' | 'statuses' | 'history' | 'references'>;
  readonly tokens: { authenticate(authorization: string | undefined): Caller | null };
  /** Makes a reference of what a node last proved. @throws Rejection where there is nothing to capture */
  capture(node: string, name: string, staged: boolean, actor: string): Promise<Reference>;
  importPins(pins: readonly Pin[], actor: string): Promise<void>;
  /** Gives the token's text, which is stored nowhere. */
  createJoinToken(request: { node: string; ttlMs: number; actor: string }): Promise<string>;
  /** The evidence behind the node's latest verdict. */
  bundle(node: string): Promise<Bundle | null>;
  policy(): { readonly name: string; readonly revision: string; readonly text: string };
  ready(): Readiness;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Counts one answered request; the route is one of the table's patterns or `unmatched`. */
  answered(method: string, route: string, status: number, seconds: number): void;
  /** A fault of ours behind a 500, for the log: the caller is told nothing of it. */
  fault(error: unknown, route: string): void;
}

export interface Readiness {
  readonly ok: boolean;
  /** One sentence where not ok. */
  readonly reason: string | null;
}
