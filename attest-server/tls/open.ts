import type { Logger } from 'pino';
import type { AuditStore } from '../audit/ports.ts';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import { type AuthorityRotation, createAuthorityRotation } from './authority-rotation.ts';
import { ensureIdentity, type ServerIdentity } from './identity.ts';

export interface TlsParts {
  readonly stateDir: string;
  /** Host names and addresses in the server's certificate. */
  readonly names: readonly string[];
  readonly enrolment: Pick<EnrolmentStore, 'nodes'>;
  readonly audit: Pick<AuditStore, 'append'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly logger: Logger;
  /** Until when certificate and authority are good. */
  readonly expire: (identity: ServerIdentity) => void;
}

/** The server's authority and its certificate. It holds nothing that must be closed. */
export interface Tls extends AuthorityRotation, AsyncDisposable {
  /** At the start. */
  readonly identity: ServerIdentity;
  /** When what is shown at present ends. Milliseconds since the epoch. */
  expiries(): readonly { readonly of: 'server' | 'authority'; readonly expiresAt: number }[];
  /** Another certificate is to be shown from now on. What throws keeps the old one in force. */
  onChange(show: (identity: ServerIdentity) => void): void;
}

/** @throws Error where keys and certificates of the state folder do not belong together; ToolError of openssl */
export async function openTls(parts: TlsParts): Promise<Tls> {
  const { stateDir, names, now, expire } = parts;
  const read = () => ensureIdentity(stateDir, names, now());
  const shows: ((identity: ServerIdentity) => void)[] = [];
  const identity = await read();
  let shown = identity;
  const serve = (next: ServerIdentity) => {
    for (const show of shows) show(next);
    shown = next;
    expire(next);
  };
  expire(identity);
  const rotation = createAuthorityRotation({ ...parts, identity, read, serve });
  return {
    identity,
    get digest() {
      return rotation.digest;
    },
    announce: rotation.announce,
    trusts: rotation.trusts,
    renew: rotation.renew,
    ports: rotation.ports,
    expiries: () => [
      { of: 'server', expiresAt: shown.notAfter },
      { of: 'authority', expiresAt: shown.authorityNotAfter },
    ],
    onChange: (show) => void shows.push(show),
    async [Symbol.asyncDispose]() {},
  };
}
