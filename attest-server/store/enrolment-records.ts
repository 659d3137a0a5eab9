import type { Kysely } from 'kysely';
import { Rejection } from '../protocol/rejection.ts';
import type { Append } from './audit-log.ts';
import { toBuffer } from './columns.ts';
import type { Tables } from './schema.ts';
import type { Approval, Candidate, Store } from './store.ts';

/** TPMs that wait for somebody's word, approvals that wait for their TPM, and names that were freed. */
export function enrolmentRecords(
  db: Kysely<Tables>,
  append: Append,
): Pick<
  Store,
  | 'candidates'
  | 'saveCandidates'
  | 'approvalFor'
  | 'approvals'
  | 'addApproval'
  | 'approveFirstUse'
  | 'wasRevoked'
  | 'forgetSequence'
  | 'revoke'
> {
  return {
    async candidates() {
      const rows = await db.selectFrom('candidates').selectAll().orderBy('last_seen').execute();
      return rows.map(candidateOf);
    },

    saveCandidates: ({ changed, gone }) =>
      db.transaction().execute(async (transaction) => {
        for (const { node, ekDigest } of gone)
          await transaction
            .deleteFrom('candidates')
            .where('node', '=', node)
            .where('ek_digest', '=', ekDigest)
            .execute();
        for (const candidate of changed)
          await transaction.replaceInto('candidates').values(candidateRow(candidate)).execute();
      }),

    async approvalFor(node) {
      const row = await db.selectFrom('approvals').selectAll().where('node', '=', node).executeTakeFirst();
      return row === undefined ? null : approvalOf(row);
    },

    approvals: async () =>
      (await db.selectFrom('approvals').selectAll().orderBy('node').execute()).map(approvalOf),

    /** A later word about a node or a key replaces the earlier one, an approval as well as a pin. */
    addApproval: ({ node, ekDigest, by, at }, event) =>
      db.transaction().execute(async (transaction) => {
        await takeBackWords(transaction, node, ekDigest);
        await transaction.insertInto('approvals').values({ node, ek_digest: ekDigest, by, at }).execute();
        await append(transaction, event);
      }),

    approveFirstUse: (nodes, event) =>
      db.transaction().execute(async (transaction) => {
        const approved: string[] = [];
        for (const { name, ekDigest } of nodes) {
          const { numUpdatedRows } = await transaction
            .updateTable('nodes')
            .set({ bound: 'approval' })
            .where('ek_digest', '=', ekDigest)
            .where('name', '=', name)
            .where('bound', '=', 'first-use')
            .where('revoked_at', 'is', null)
            .executeTakeFirstOrThrow();
          if (numUpdatedRows !== 1n) continue;
          await append(transaction, event(name, ekDigest));
          approved.push(name);
        }
        return approved;
      }),

    async wasRevoked(ekDigest, providerId) {
      const row = await db
        .selectFrom('nodes')
        .select('provider_id')
        .where('ek_digest', '=', ekDigest)
        .where('revoked_at', 'is not', null)
        .executeTakeFirst();
      if (row === undefined) return false;
      return providerId === undefined || row.provider_id === null || row.provider_id === providerId;
    },

    forgetSequence: (ekDigest, event) =>
      db.transaction().execute(async (transaction) => {
        const forgotten = { reset_count: null, restart_count: null, clock: null, firmware_version: null };
        await transaction
          .updateTable('statuses')
          .set({ ...forgotten, boot_id: null, sequence: null })
          .where('ek_digest', '=', ekDigest)
          .execute();
        await append(transaction, event);
      }),

    revoke: (node, event) =>
      db.transaction().execute(async (transaction) => {
        await revokeRecord(transaction, node);
        await append(transaction, event);
      }),
  };
}

/** Part of a revocation's transaction. @throws Rejection `enrolment_pending` where they are not enrolled together */
export async function revokeRecord(
  transaction: Kysely<Tables>,
  { name, ekDigest, at, reason }: Parameters<Store['revoke']>[0],
): Promise<void> {
  const { numUpdatedRows } = await transaction
    .updateTable('nodes')
    .set({ revoked_at: at, revoked_reason: reason })
    .where('ek_digest', '=', ekDigest)
    .where('name', '=', name)
    .where('revoked_at', 'is', null)
    .executeTakeFirstOrThrow();
  if (numUpdatedRows !== 1n) throw new Rejection('enrolment_pending', `${name} is not enrolled`);
  await transaction.deleteFrom('statuses').where('ek_digest', '=', ekDigest).execute();
  // Whatever vouched before is used up: the TPM that comes again needs a new word.
  await takeBackWords(transaction, name, ekDigest);
  await transaction.deleteFrom('join_tokens').where('node', '=', name).where('used_at', 'is', null).execute();
}

/** Approvals and pins of this node, and those of this key. */
export async function takeBackWords(
  transaction: Kysely<Tables>,
  node: string,
  ekDigest: string,
): Promise<void> {
  for (const table of ['approvals', 'pins'] as const)
    await transaction
      .deleteFrom(table)
      .where((is) => is.or([is('node', '=', node), is('ek_digest', '=', ekDigest)]))
      .execute();
}

/** An approval is for one enrolment: taken together with it, or not at all. */
export async function takeApproval(
  transaction: Kysely<Tables>,
  node: string,
  ekDigest: string,
): Promise<void> {
  const { numDeletedRows } = await transaction
    .deleteFrom('approvals')
    .where('node', '=', node)
    .where('ek_digest', '=', ekDigest)
    .executeTakeFirstOrThrow();
  if (numDeletedRows !== 1n)
    throw new Rejection('enrolment_pending', `the approval of ${node} was taken back or used`);
}

function candidateRow(candidate: Candidate): Tables['candidates'] {
  return {
    node: candidate.node,
    ek_digest: candidate.ekDigest,
    ek_public_area: candidate.ekPublicArea,
    certificate_subject: candidate.certificateSubject,
    manufacturer: candidate.manufacturer,
    address: candidate.address,
    first_seen: candidate.firstSeen,
    last_seen: candidate.lastSeen,
    attempts: candidate.attempts,
  };
}

function candidateOf(row: Tables['candidates']): Candidate {
  return {
    node: row.node,
    ekDigest: row.ek_digest,
    ekPublicArea: toBuffer(row.ek_public_area),
    certificateSubject: row.certificate_subject,
    manufacturer: row.manufacturer,
    address: row.address,
    firstSeen: row.first_seen,
    lastSeen: row.last_seen,
    attempts: row.attempts,
  };
}

function approvalOf(row: Tables['approvals']): Approval {
  return { node: row.node, ekDigest: row.ek_digest, by: row.by, at: row.at };
}
