import type { AuditEvent } from '../formats/audit.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import { Rejection } from '../wire/rejection.ts';
import type { Candidates } from './candidates.ts';
import { type Alert, doubleBinding } from './double-binding.ts';
import type { Candidate, EnrolledNode, EnrolmentStore, Pin } from './ports.ts';

/** A candidate, and what a person needs to know before deciding. */
export interface WaitingTpm extends Candidate {
  /** The name belongs to another TPM now. */
  readonly nameIsEnrolled: boolean;
  /** It enrols when it comes again. */
  readonly isApproved: boolean;
}

/** Decisions of people about the identity of nodes. */
export interface Approvals {
  /** Sorted by name, whoever was seen last first. */
  waiting(): Promise<readonly WaitingTpm[]>;
  /**
   * Lets this TPM enrol under this name when it next comes; a binding by first use becomes an approval at once. A
   * whole digest may be approved before its TPM ever came.
   * @param ekDigest whole: who makes keys until the first digits are another's is not stopped by a few of them
   * @throws Rejection `enrolment_pending`, `ek_already_bound`
   */
  approve(node: string, ekDigest: string, actor: string): Promise<{ ekDigest: string; isWaiting: boolean }>;
  /**
   * Makes approvals of bindings by first use; gives the names.
   * @param only these, as a person saw them; null: all
   */
  approveAll(
    actor: string,
    only: readonly Pick<EnrolledNode, 'name' | 'ekDigest'>[] | null,
  ): Promise<readonly string[]>;
  /** Frees the name; null if nobody has it, and nothing is to be erased of who had it. */
  revoke(node: string, how: RevocationRequest): Promise<RevokedNode | null>;
}

export interface RevocationRequest {
  readonly reason: string;
  readonly actor: string;
  /** Of each TPM that had the name and is no node any more. */
  readonly eraseEvidence: boolean;
}

export interface RevokedNode {
  /** Digest of the endorsement key. */
  readonly ek: string;
  /** Bytes that erased evidence took. */
  readonly freedBytes?: number;
}

export interface ApprovalParts {
  readonly store: EnrolmentStore;
  readonly candidates: Candidates;
  readonly mayEnrol: (node: string, by: EnrolmentMethod) => boolean;
  /** @throws Rejection if a signed directory pins this name or this key otherwise */
  readonly checkPins: (pins: readonly Pin[]) => Promise<void>;
  readonly alert: Alert;
  readonly now: () => number;
  /** Whether the server is on trial. */
  readonly trial: boolean;
  /** Does the work when nothing of this node is being judged, then forgets it and ends its connection. */
  readonly release: (node: string, work: () => Promise<void>, akName?: string) => Promise<void>;
  /** Forgets what is held against the TPM of this node; false if nothing is. */
  readonly approveAgain: (node: string, actor: string) => Promise<boolean>;
  /** Erases what is kept of a TPM that is no node any more; gives how many bytes that took. */
  readonly eraseEvidence: (node: { name: string; ekDigest: string }, actor: string) => Promise<number>;
}

export function createApprovals(parts: ApprovalParts): Approvals {
  const { store, candidates, mayEnrol, checkPins, alert, now, trial, release, approveAgain } = parts;
  const eraseOf = async (name: string, actor: string): Promise<number> => {
    let bytes = 0;
    for (const ekDigest of await store.revokedKeys(name))
      bytes += await parts.eraseEvidence({ name, ekDigest }, actor);
    return bytes;
  };
  const isOfTrial = (node: EnrolledNode) => node.trial === true && !trial;
  return {
    async waiting() {
      const [nodes, approvals] = await Promise.all([store.everyNode(), store.approvals()]);
      const holders = new Map(nodes.map(({ name, ekDigest }) => [name, ekDigest]));
      const approved = new Set(approvals.map(({ node, ekDigest }) => `${node} ${ekDigest}`));
      return candidates
        .list()
        .map((candidate) => ({
          ...candidate,
          nameIsEnrolled: (holders.get(candidate.node) ?? candidate.ekDigest) !== candidate.ekDigest,
          isApproved: approved.has(`${candidate.node} ${candidate.ekDigest}`),
        }))
        .sort((a, b) => (a.node === b.node ? b.lastSeen - a.lastSeen : a.node < b.node ? -1 : 1));
    },

    async approve(node, ekDigest, actor) {
      await checkPins([{ node, ekDigest }]);
      const isWaiting = candidates.list().some((each) => each.node === node && each.ekDigest === ekDigest);
      const holder = await store.nodeByEk(ekDigest);
      // What its TPM did is held against it until somebody says that it is still the right one: nobody enrols by that.
      const isLifted = holder?.name === node && (await approveAgain(node, actor));
      const mayApprove = mayEnrol(node, 'approval');
      const ofTrial = holder !== null && holder.name === node && isOfTrial(holder) ? holder : null;
      // It is in already: a method of the policy must allow that, be it another one than this.
      const isKept = ofTrial !== null && (mayApprove || mayEnrol(node, ofTrial.bound));
      if (!mayApprove && !isLifted && !isKept)
        throw new Rejection(
          'enrolment_pending',
          `the policy does not allow ${node} to enrol with an approval`,
        );
      if (holder !== null && holder.name !== node)
        throw doubleBinding(alert, { wanted: node, holder: holder.name, actor });
      if (isKept) {
        const detail = { ek: ekDigest, was: 'trial', bound: ofTrial.bound };
        const bound = mayApprove ? 'approval' : ofTrial.bound;
        await store.approveAfterTrial(
          { ...ofTrial, bound },
          {
            at: now(),
            actor,
            action: 'enrol.approve',
            subject: node,
            code: null,
            detail,
          },
        );
        return { ekDigest, isWaiting };
      }
      const isFirstUse = mayApprove && holder?.bound === 'first-use';
      if (isFirstUse) await store.approveFirstUse([holder], firstUseApproval(actor));
      if (isLifted || isFirstUse) return { ekDigest, isWaiting: true };
      if (holder !== null)
        throw new Rejection(
          'ek_already_bound',
          `${node} is already enrolled with this key: there is nothing to approve`,
        );
      if ((await store.node(node)) !== null)
        throw new Rejection(
          'ek_already_bound',
          `${node} is enrolled with another key: revoke that enrolment first`,
        );
      const at = now();
      await store.addApproval(
        { node, ekDigest, by: actor, at },
        {
          at,
          actor,
          action: 'enrol.approve',
          subject: node,
          code: null,
          detail: { ek: ekDigest, isWaiting },
        },
      );
      return { ekDigest, isWaiting };
    },

    async approveAll(actor, only) {
      // What enrolled during a trial is approved by its key alone: here nobody looks at each.
      const found = (await store.everyNode()).filter(
        (node) => node.bound === 'first-use' && !isOfTrial(node) && (only === null || only.some(isOf(node))),
      );
      return store.approveFirstUse(found, firstUseApproval(actor));
    },

    async revoke(node, { reason, actor, eraseEvidence }) {
      const record = await store.node(node);
      if (record === null) {
        const [ek] = eraseEvidence ? await store.revokedKeys(node) : [];
        return ek === undefined ? null : { ek, freedBytes: await eraseOf(node, actor) };
      }
      const { ekDigest, akName, bound, enrolledAt } = record;
      const at = now();
      const event: AuditEvent = {
        at,
        actor,
        action: 'enrol.revoke',
        subject: node,
        code: null,
        detail: { reason, ek: ekDigest, ak: akName, bound, enrolledAt },
      };
      let freedBytes: number | undefined;
      const work = async () => {
        await store.revoke({ name: node, ekDigest, at, reason }, event);
        if (eraseEvidence) freedBytes = await eraseOf(node, actor);
      };
      await release(node, work, akName);
      return { ek: ekDigest, ...(freedBytes !== undefined && { freedBytes }) };
    },
  };

  function firstUseApproval(actor: string) {
    return (name: string, ekDigest: string): AuditEvent => ({
      at: now(),
      actor,
      action: 'enrol.approve',
      subject: name,
      code: null,
      detail: { ek: ekDigest, was: 'first-use' },
    });
  }
}

function isOf({ name, ekDigest }: EnrolledNode) {
  return (named: Pick<EnrolledNode, 'name' | 'ekDigest'>) =>
    named.name === name && named.ekDigest === ekDigest;
}
