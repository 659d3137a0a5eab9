import type { Kysely } from 'kysely';
import { boundWords } from '../protocol/enrolment-method.ts';
import { Rejection } from '../protocol/rejection.ts';
import { tpmClasses } from '../protocol/tpm-class.ts';
import type { Append } from './audit-log.ts';
import { knownWord, optionalBuffer, toBuffer } from './columns.ts';
import { isUniqueViolation } from './constraint.ts';
import { revokeRecord, takeApproval } from './enrolment-records.ts';
import { hot } from './hot-query.ts';
import type { NodeRow, Tables } from './schema.ts';
import type { EnrolledNode, Store } from './store.ts';
import { type OnUnreadable, parseRow, parseRows } from './unreadable-row.ts';

/** Which endorsement key is which node. */
export function nodeRecords(
  db: Kysely<Tables>,
  append: Append,
  onUnreadable: OnUnreadable,
): Pick<Store, 'node' | 'nodeByEk' | 'enrol' | 'nodes'> {
  const enrolled = db.selectFrom('nodes').selectAll().where('revoked_at', 'is', null);
  const byName = hot<{ name: string }>()((value) => enrolled.where('name', '=', value('name')).compile());
  const byEk = hot<{ ekDigest: string }>()((value) =>
    enrolled.where('ek_digest', '=', value('ekDigest')).compile(),
  );
  return {
    async node(name) {
      const [row] = (await db.executeQuery(byName({ name }))).rows;
      return row === undefined ? null : nodeOf(row);
    },

    async nodeByEk(ekDigest) {
      const [row] = (await db.executeQuery(byEk({ ekDigest }))).rows;
      return row === undefined ? null : nodeOf(row);
    },

    nodes: async () => parseRows(await enrolled.orderBy('name').execute(), nodeOf, onUnreadable),

    enrol: (node, event, joinTokenId, superseded) =>
      db.transaction().execute(async (transaction) => {
        if (superseded !== undefined) {
          const { ekDigest, reason, audit } = superseded;
          await revokeRecord(transaction, { name: node.name, ekDigest, at: node.enrolledAt, reason });
          await append(transaction, audit);
        }
        if (joinTokenId !== undefined) await spendJoinToken(transaction, joinTokenId, node);
        if (node.bound === 'approval') await takeApproval(transaction, node.name, node.ekDigest);
        await insertNode(transaction, node);
        await transaction
          .deleteFrom('candidates')
          .where('node', '=', node.name)
          .where('ek_digest', '=', node.ekDigest)
          .execute();
        await transaction
          .insertInto('statuses')
          .values({ ...unproven, ek_digest: node.ekDigest })
          .execute();
        await append(transaction, event);
      }),
  };
}

/** A revoked record gives way to a later enrolment of its key; what it said stays in the audit log. */
async function insertNode(transaction: Kysely<Tables>, node: EnrolledNode): Promise<void> {
  const { ek_digest, ...rest } = rowOf(node);
  let cause: unknown;
  try {
    const { numInsertedOrUpdatedRows } = await transaction
      .insertInto('nodes')
      .values({ ek_digest, ...rest })
      .onConflict((conflict) =>
        conflict.column('ek_digest').doUpdateSet(rest).where('nodes.revoked_at', '<=', node.enrolledAt),
      )
      .executeTakeFirstOrThrow();
    if (numInsertedOrUpdatedRows === 1n) return;
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    cause = error;
  }
  const bound = await bindingOf(transaction, node);
  if (bound !== null) throw new Rejection('ek_already_bound', bound, { cause });
  // It was identified before the revocation, and so by a word that is used up.
  throw new Rejection('enrolment_pending', `the key of ${node.name} was revoked meanwhile`);
}

/** One use, one name, one lifetime; spent together with the enrolment that it pays for, or not at all. */
async function spendJoinToken(transaction: Kysely<Tables>, id: string, node: EnrolledNode): Promise<void> {
  const { numUpdatedRows } = await transaction
    .updateTable('join_tokens')
    .set({ used_at: node.enrolledAt })
    .where('id', '=', id)
    .where('node', '=', node.name)
    .where('used_at', 'is', null)
    .where('expires_at', '>', node.enrolledAt)
    .executeTakeFirstOrThrow();
  if (numUpdatedRows !== 1n) {
    throw new Rejection(
      'enrolment_pending',
      `the join token ${id} is used, expired or not for ${node.name}: create a new one`,
    );
  }
}

async function bindingOf(db: Kysely<Tables>, node: EnrolledNode): Promise<string | null> {
  const bound = await db
    .selectFrom('nodes')
    .select(['name', 'ek_digest'])
    .where((is) => is.or([is('ek_digest', '=', node.ekDigest), is('name', '=', node.name)]))
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  if (bound === undefined) return null;
  return bound.ek_digest === node.ekDigest
    ? `the endorsement key ${node.ekDigest} is bound to ${bound.name}`
    : `the name ${node.name} is bound to the endorsement key ${bound.ek_digest}`;
}

const unproven = {
  state: 'pending',
  verdict: null,
  verified_at: null,
  expires_at: null,
  booted_at: null,
  reset_count: null,
  restart_count: null,
  clock: null,
  firmware_version: null,
  boot_id: null,
  sequence: null,
  kernel: null,
  system_uuid: null,
  boot_log_digest: null,
  evidence_digest: null,
} as const;

function rowOf(node: EnrolledNode): NodeRow {
  return {
    ek_digest: node.ekDigest,
    name: node.name,
    bound: node.bound,
    ek_public_area: node.ekPublicArea,
    ek_certificate: node.ekCertificate,
    ak_public_area: node.akPublicArea,
    ak_name: node.akName,
    manufacturer: node.manufacturer,
    tpm_class: node.tpmClass,
    endorsed_by: node.endorsedBy,
    provider_id: node.providerId ?? null,
    enrolled_at: node.enrolledAt,
    revoked_at: null,
    revoked_reason: null,
  };
}

/** @throws UnreadableRow */
function nodeOf(row: NodeRow): EnrolledNode {
  return parseRow('node', row.name, () => ({
    ekDigest: row.ek_digest,
    name: row.name,
    bound: knownWord(boundWords, row.bound, 'bound'),
    ekPublicArea: toBuffer(row.ek_public_area),
    ekCertificate: optionalBuffer(row.ek_certificate),
    akPublicArea: toBuffer(row.ak_public_area),
    akName: row.ak_name,
    manufacturer: row.manufacturer,
    tpmClass: knownWord(tpmClasses, row.tpm_class, 'TPM class'),
    endorsedBy: row.endorsed_by,
    ...(row.provider_id !== null && { providerId: row.provider_id }),
    enrolledAt: row.enrolled_at,
  }));
}
