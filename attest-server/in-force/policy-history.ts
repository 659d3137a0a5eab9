import { hash } from 'node:crypto';
import type { Logger } from 'pino';
import type { PolicyArrival } from '../formats/policy-arrival.ts';
import { policyLabel, revisionOf } from '../formats/policy-label.ts';
import { NotNow } from '../formats/reference-life.ts';
import { PolicyError } from '../policy/file/policy-error.ts';
import { parsePolicy } from '../policy/file/policy-file.ts';
import { enrolments, type Policy } from '../policy/policy.ts';
import type { Allowance, PolicyRevision, PolicyStore, Rollback } from './ports.ts';

export interface PolicyHistoryParts {
  readonly store: PolicyStore;
  /** A policy as this server would have it in force. */
  readonly asHeld: (policy: Policy) => Policy;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly logger: Logger;
}

/** A policy, and what it was read from. */
export interface SourcedPolicy {
  readonly policy: Policy;
  readonly source: string;
}

/** Which policies were in force, and what people decided about which one is. */
export interface PolicyHistory {
  /** By which the server judged last; null if none is kept, or this version cannot read it. */
  readonly last: SourcedPolicy | null;
  rollback(): Rollback | null;
  /** The policy that counts if file or directory give this one: it, or the one that somebody went back to in its place. */
  inPlaceOf(given: SourcedPolicy): SourcedPolicy;
  /** A person's word for this text; null if there is none, or it is too old. */
  allowanceFor(policy: Policy): Promise<Allowance | null>;
  /** Keeps that this one is in force, and ends a rollback unless it is what somebody went back to. */
  entered(entry: SourcedPolicy, came: PolicyArrival): Promise<void>;
  /** Has an earlier one count in place of the one in force, as the audit log then says. */
  goBack(to: SourcedPolicy, from: Policy, word: OperatorApproval): Promise<void>;
  /** @param digest of the text, or its first digits */
  allow(digest: string, word: OperatorApproval): Promise<void>;
  /** The latest first. */
  list(): Promise<readonly PolicyRevision[]>;
  /** By the first digits of its digest. @throws NotNow if none is kept, or several begin so */
  kept(digits: string): Promise<PolicyRevision & { readonly text: string }>;
}

export interface OperatorApproval {
  readonly by: string;
  readonly reason: string;
}

/** Milliseconds for which an allowance waits for its policy: whoever said so has forgotten it later. */
const allowedFor = 7 * 86_400_000;

export async function openPolicyHistory(parts: PolicyHistoryParts): Promise<PolicyHistory> {
  const { store, asHeld, now, logger } = parts;
  const parsed = async (kept: PolicyRevision | undefined): Promise<SourcedPolicy | null> => {
    const text = kept === undefined ? null : await store.text(kept.digest);
    if (kept === undefined || text === null) return null;
    try {
      const { source } = kept;
      return { policy: asHeld(parsePolicy(text, source, enrolments)), source };
    } catch (err) {
      if (!(err instanceof PolicyError)) throw err;
      logger.error({ err }, 'a policy that was in force cannot be read by this version');
      return null;
    }
  };
  const kept = await store.list();
  let inForce = kept.find(({ endedAt }) => endedAt === null)?.digest ?? null;
  const last = await parsed(kept.find(({ digest }) => digest === inForce));
  const decided = await store.rollback();
  const wentBackTo = decided && (await parsed(kept.find(({ digest }) => digest === decided.digest)));
  let rolledBack = decided && wentBackTo && { ...decided, to: wentBackTo };

  const allowanceFor = async (policy: Policy) => {
    const allowance = await store.allowance();
    if (allowance === null || now() - allowance.at > allowedFor) return null;
    return digestOf(policy).startsWith(allowance.digest) ? allowance : null;
  };
  return {
    last,
    rollback: () => rolledBack,
    inPlaceOf: (given) => (rolledBack?.insteadOf === digestOf(given.policy) ? rolledBack.to : given),
    allowanceFor,
    async entered({ policy, source }, came) {
      const digest = digestOf(policy);
      const stays = rolledBack !== null && rolledBack.to.policy === policy;
      if (digest === inForce && (stays || rolledBack === null)) return;
      const allowance = await allowanceFor(policy);
      const { by, reason } = allowance ?? { by: null, reason: null };
      const { name, text } = policy;
      await store.enter(
        { digest, name, source, text, came: allowance === null ? came : 'allowed', by, reason },
        { at: now(), rollback: stays ? rolledBack && rowOf(rolledBack) : null, audit: null },
      );
      inForce = digest;
      if (!stays) rolledBack = null;
    },
    async goBack(to, from, { by, reason }) {
      const { policy, source } = to;
      const digest = digestOf(policy);
      const at = now();
      const insteadOf = rolledBack?.insteadOf ?? digestOf(from);
      // What file and directory give anyway needs nobody's word to stay.
      const rollback = digest === insteadOf ? null : { digest, insteadOf, at, by, reason };
      const subject = policyLabel(policy);
      const detail = { before: policyLabel(from), insteadOf: revisionOf(insteadOf), reason };
      await store.enter(
        { digest, name: policy.name, source, text: policy.text, came: 'rollback', by, reason },
        {
          at,
          rollback,
          audit: { at, actor: by, action: 'policy.rollback', subject, code: null, detail },
        },
      );
      inForce = digest;
      rolledBack = rollback && { ...rollback, to };
    },
    async allow(digest, { by, reason }) {
      const at = now();
      const subject = revisionOf(digest);
      const detail = { digest, reason };
      await store.allow(
        { digest, at, by, reason },
        { at, actor: by, action: 'policy.allow', subject, code: null, detail },
      );
    },
    list: store.list,
    async kept(digits) {
      const [one, other] = (await store.list()).filter(({ digest }) => digest.startsWith(digits));
      if (other !== undefined) throw new NotNow(`several policies begin with ${digits}: give more digits`);
      const text = one === undefined ? null : await store.text(one.digest);
      if (one === undefined || text === null) throw new NotNow(`no policy ${digits} was in force here`);
      return { ...one, text };
    },
  };
}

/** SHA-256 of its text, hex: the revision is too short to vouch for a text that somebody may choose. */
export function digestOf({ text }: Pick<Policy, 'text'>): string {
  return hash('sha256', text, 'hex');
}

function rowOf({ digest, insteadOf, at, by, reason }: Rollback): Rollback {
  return { digest, insteadOf, at, by, reason };
}
