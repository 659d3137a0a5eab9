/**
 * The server's certificate, renewed before it ends (`server-certificate`), and how one authority follows
 * another (`authority-rotation`). `published-authorities` keeps the authorities in a ConfigMap of the cluster.
 */

import type { Logger } from 'pino';
import type { AuditStore } from '../audit/ports.ts';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { Readiness } from '../http/ports.ts';
import { type AuthorityRotation, createAuthorityRotation } from './authority-rotation.ts';
import { CertificateFault, ensureIdentity, type ServerIdentity } from './identity.ts';
import type { AuthorityKeys } from './ports.ts';
import { type AuthorityKeeper, PublishedAuthorities } from './published-authorities.ts';

export interface TlsParts {
  readonly stateDir: string;
  readonly keys: AuthorityKeys;
  /** After how many milliseconds it is looked whether another server changed them; null if no other one has them. */
  readonly followEvery: number | null;
  /** Host names and addresses in the server's certificate. */
  readonly names: readonly string[];
  readonly enrolment: Pick<EnrolmentStore, 'nodes'>;
  readonly audit: Pick<AuditStore, 'append'>;
  /** Where agents of the cluster get the authorities; null if they get them otherwise. */
  readonly keeper: AuthorityKeeper | null;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** After how many milliseconds it is looked again whether the certificate is due. */
  readonly lookEvery: number;
  readonly logger: Logger;
  /** Until when certificate and authority are good. */
  readonly expire: (identity: ServerIdentity) => void;
  readonly report: {
    /** Another certificate took the place of one that was good until `before`. Milliseconds since the epoch. */
    certificateRenewed(before: number, until: number): void;
    /** Renewal is due and failed: the old certificate is shown until it succeeds. */
    certificateNotRenewed(error: unknown, until: number): void;
  };
}

/** The server's authority and its certificate, which is renewed before it ends. */
export interface Tls extends Omit<AuthorityRotation, 'renewIfDue' | 'follow'>, AsyncDisposable {
  /** Not if the certificate has ended: nobody who looks at it comes in. */
  ready(): Readiness;
  /** When what is shown at present ends. Milliseconds since the epoch. */
  expiries(): readonly { readonly of: 'server' | 'authority'; readonly expiresAt: number }[];
  /** Why agents of the cluster may not get the authorities, a sentence each. */
  faults(): readonly string[];
  /** Another certificate is to be shown from now on. What throws keeps the old one in force. */
  onChange(show: (identity: ServerIdentity) => void): void;
}

/** Milliseconds between two looks whether the authorities are others than those that agents get. */
const publishEvery = 1000;

/** @throws Error if keys and certificates of the state folder do not belong together; ToolError of openssl */
export async function openTls(parts: TlsParts): Promise<Tls> {
  const { stateDir, keys, followEvery, names, keeper, now, monotonic, lookEvery, logger, expire, report } =
    parts;
  const read = async () => {
    const identity = await ensureIdentity(stateDir, keys, names, now());
    if (identity.replaced !== null) report.certificateRenewed(identity.replaced, identity.notAfter);
    return identity;
  };
  const shows: ((identity: ServerIdentity) => void)[] = [];
  const serve = (identity: ServerIdentity) => {
    for (const show of shows) show(identity);
    expire(identity);
  };
  let seen = followEvery === null ? '' : await keys.look();
  const identity = await read().catch((error: unknown) => {
    if (!(error instanceof CertificateFault) || error.kept === null) throw error;
    report.certificateNotRenewed(error, error.kept.notAfter);
    return error.kept;
  });
  expire(identity);
  const rotation = createAuthorityRotation({ ...parts, identity, read, serve });
  const failed = (error: unknown) => report.certificateNotRenewed(error, rotation.identity.notAfter);
  let looking = Promise.resolve();
  // The process may end: what is not looked at now is looked at when it starts again.
  const timer = setInterval(() => {
    looking = rotation.renewIfDue().catch(failed);
  }, lookEvery).unref();
  let following = Promise.resolve();
  const look = async () => {
    const found = await keys.look();
    if (found === seen) return;
    // What cannot be taken is said once, and not at each look.
    seen = found;
    await rotation.follow();
  };
  const follower =
    followEvery !== null &&
    setInterval(() => {
      following = following.then(look).catch(failed);
    }, followEvery).unref();
  const published =
    keeper &&
    new PublishedAuthorities({
      keeper,
      wanted: () => rotation.identity.authorities.map(({ certificate }) => certificate).join(''),
      monotonic,
      logger,
    });
  // An API that is not there delays no start.
  void published?.turn();
  const publishing = published && setInterval(() => void published.turn(), publishEvery).unref();
  return {
    get identity() {
      return rotation.identity;
    },
    get digest() {
      return rotation.digest;
    },
    announce: rotation.announce,
    trusts: rotation.trusts,
    renew: rotation.renew,
    ports: rotation.ports,
    ready: () => readiness(rotation.identity, now()),
    expiries: () => [
      { of: 'server', expiresAt: rotation.identity.notAfter },
      { of: 'authority', expiresAt: rotation.identity.authorityNotAfter },
    ],
    faults: () => (published === null || published.fault === null ? [] : [published.fault]),
    onChange(show) {
      shows.push(show);
      // It may have been made anew since the listener began.
      if (rotation.identity !== identity) show(rotation.identity);
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      if (follower !== false) clearInterval(follower);
      if (publishing !== null) clearInterval(publishing);
      await Promise.all([looking, following]);
      await published?.close();
    },
  };
}

function readiness({ notAfter, authorityNotAfter }: ServerIdentity, now: number): Readiness {
  const ended = [
    ['authority', authorityNotAfter, 'replace it (docs/connections.md#another-authority)'],
    [
      'certificate',
      notAfter,
      'the log says why it could not be renewed (docs/connections.md#the-certificate)',
    ],
  ] as const;
  const [first] = ended.filter(([, until]) => now > until);
  if (first === undefined) return { ok: true, reason: null };
  const [what, until, advice] = first;
  return {
    ok: false,
    reason: `the ${what} of the server ended at ${new Date(until).toISOString()}: ${advice}`,
  };
}
