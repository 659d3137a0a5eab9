import { X509Certificate } from 'node:crypto';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { AuditStore } from '../audit/ports.ts';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { AuditAction } from '../formats/audit.ts';
import type { AuthorityPorts } from '../http/ports.ts';
import { type AnnouncedAuthority, authorityDigest } from '../wire/authority.ts';
import type { Introduction } from '../wire/messages.ts';
import { roles } from '../wire/roles.ts';
import { isRenewalDue, type ServerIdentity } from './identity.ts';
import type { AuthorityKeys } from './ports.ts';

interface RotationParts {
  readonly keys: Omit<AuthorityKeys, 'caFile' | 'issue'>;
  /** At the start. */
  readonly identity: ServerIdentity;
  /** Reads keys and state folder again, where a certificate of the authority in force is made if there is none. */
  readonly read: () => Promise<ServerIdentity>;
  /** Shows another certificate to whoever connects from now on. */
  readonly serve: (identity: ServerIdentity) => void;
  readonly enrolment: Pick<EnrolmentStore, 'nodes'>;
  readonly audit: Pick<AuditStore, 'append'>;
  readonly now: () => number;
  readonly logger: Logger;
}

/** The server's authority while it runs, and how another one follows it. */
export interface AuthorityRotation {
  /** Of the authority in force. */
  readonly digest: string;
  /**
   * Announcement to an agent that has just proven itself, once per connection for each change.
   * @param told what this gave for the connection before; null at first
   */
  announce(node: string, hello: Introduction | null, told: string | null): AuthorityAnnouncement;
  /** A proven agent says what it trusts. */
  trusts(node: string, digests: readonly string[]): void;
  /** Reads authority and certificate again. */
  renew(): Promise<void>;
  /** The same where the certificate is due. */
  renewIfDue(): Promise<void>;
  /** The same where another server changed the authorities that it shares with this one; that is in the audit log, too. */
  follow(): Promise<void>;
  /** Identity that is shown now. */
  readonly identity: ServerIdentity;
  readonly ports: AuthorityPorts;
}

export interface AuthorityAnnouncement {
  /** Authorities announced on the connection; null if its agent does not mention any. */
  readonly told: string | null;
  /** Null if there is nothing to tell. */
  readonly authorities: AnnouncedAuthority[] | null;
}

export function createAuthorityRotation(parts: RotationParts): AuthorityRotation {
  const { keys, enrolment, audit, now, logger } = parts;
  let identity = parts.identity;
  let digests = digestsOf(identity);
  /** Nodes that trust the authority which follows, or followed. */
  const told = new Set<string>();
  const inTurn = pLimit(1);
  const take = (next: ServerIdentity) => {
    // First of all: what cannot be shown is not taken.
    parts.serve(next);
    if (next.stage === 'announced' && next.stage !== identity.stage) told.clear();
    identity = next;
    digests = digestsOf(next);
  };
  /** The newer of two. */
  const newest = () => (identity.stage === 'announced' ? digests[1] : digests[0]) ?? identity.caDigest;
  const trusts = (node: string, trusted: readonly string[]) => {
    if (trusted.includes(newest())) told.add(node);
    else told.delete(node);
  };
  const view = async () => {
    const names = (await enrolment.nodes()).map(({ name }) => name);
    const untold = identity.stage === 'settled' ? [] : names.filter((name) => !told.has(name)).sort();
    return {
      stage: identity.stage,
      authorities: identity.authorities.map(({ certificate }, position) => describe(certificate, position)),
      nodes: names.length,
      untold: untold.length,
      waitingFor: untold.slice(0, 100),
    };
  };
  const describe = (certificate: string, position: number) => {
    const follows = identity.stage === 'announced' ? ('announced' as const) : ('previous' as const);
    return {
      digest: digests[position] ?? '',
      state: position === 0 ? ('in force' as const) : follows,
      expiresAt: new X509Certificate(certificate).validToDate.toISOString(),
      certificate,
    };
  };
  const note = async (action: AuditAction, actor: string, untold: number) => {
    const subject = newest();
    await audit.append({ at: now(), actor, action, subject, code: null, detail: { untold } });
    logger.warn({ actor, action, authority: subject, untold }, 'the authority of the server changes');
  };
  const change = async (action: AuditAction, actor: string, untold: number, work: () => Promise<boolean>) => {
    if (!(await work())) {
      await follow();
      return 'another server has just changed the authority: see assay authority status';
    }
    try {
      take(await parts.read());
    } finally {
      // On disk it is changed: it counts from the next start on, whatever fails here.
      await note(action, actor, untold);
    }
    return view();
  };
  /** Takes what another server made of the keys that it shares with this one. */
  const follow = async () => {
    const before = identity.stage;
    take(await parts.read());
    const action = identity.stage === before ? null : changeTo[identity.stage];
    if (action !== null) await note(action, 'server', 0);
  };
  return {
    get digest() {
      return identity.caDigest;
    },
    announce(node, hello, told) {
      if (hello?.authorities === undefined) return { told: null, authorities: null };
      const now = `${identity.stage} ${digests.join()}`;
      if (told === now) return { told, authorities: null };
      // A gate is told, too, but only the agent, which keeps running, makes the node count as told.
      if (told === null && roles[hello.role].stays) trusts(node, hello.authorities);
      const isKnown = identity.stage === 'settled' && hello.authorities.join() === identity.caDigest;
      return { told: now, authorities: isKnown ? null : [...identity.authorities] };
    },
    trusts,
    renew: () => inTurn(async () => take(await parts.read())),
    renewIfDue: () =>
      inTurn(async () => {
        if (isRenewalDue(identity, now())) take(await parts.read());
      }),
    follow: () => inTurn(follow),
    get identity() {
      return identity;
    },
    ports: {
      view,
      rotate: (actor) =>
        inTurn(async () => {
          if (identity.stage === 'announced')
            return 'an authority is already announced: finish that rotation first';
          if (identity.stage === 'in_force')
            return 'the earlier authority is not retired yet: retire it first';
          return change('authority.rotate', actor, 0, keys.prepareNext);
        }),
      finish: (force, actor) =>
        inTurn(async () => {
          if (identity.stage !== 'announced') return 'no authority is announced: rotate first';
          const { untold, nodes } = await view();
          if (untold > 0 && !force)
            return `${untold} of ${nodes} nodes do not know the new authority yet and would refuse the server: wait (assay authority status), or use --force`;
          return change('authority.finish', actor, untold, keys.putNextInForce);
        }),
      retire: (actor) =>
        inTurn(async () => {
          if (identity.stage !== 'in_force') return 'there is no earlier authority to retire';
          return change('authority.retire', actor, 0, keys.dropPrevious);
        }),
    },
  };
}

const changeTo = {
  announced: 'authority.rotate',
  in_force: 'authority.finish',
  settled: 'authority.retire',
} as const satisfies Readonly<Record<ServerIdentity['stage'], AuditAction>>;

function digestsOf({ authorities }: ServerIdentity): readonly string[] {
  return authorities.map(({ certificate }) => authorityDigest(new X509Certificate(certificate)));
}
