import { type ExpressionBuilder, type Kysely, sql } from 'kysely';
import { z } from 'zod';
import type {
  Approval,
  Candidate,
  EnrolledNode,
  EnrolmentStore,
  JoinToken,
  KeptPin,
  Revocation,
  TpmKeys,
} from '../enrolment/ports.ts';
import { enrolmentMethods } from '../formats/enrolment-method.ts';
import { tpmClasses } from '../formats/tpm-class.ts';
import { pcrBanks } from '../wire/messages.ts';
import { Rejection } from '../wire/rejection.ts';
import type { Append } from './audit.ts';
import { knownWord, optionalBuffer, toBuffer } from './columns.ts';
import type { Database } from './database.ts';
import { archivedKeys } from './presence.ts';
import type { NodeRow, Tables } from './schema.ts';
import { hot } from './statements.ts';
import { type OnUnreadable, parseRow, parseRows } from './unreadable-row.ts';

/**
 * Enrolled nodes with their endorsement keys and methods, and the candidates.
 * @param settled resolves when no verdict waits to be written, so that none from before a revocation is written after it
 */
export function enrolmentStore(
  database: Database,
  append: Append,
  settled: () => Promise<void>,
  onUnreadable: OnUnreadable,
): EnrolmentStore {
  const { db, forMachines } = database;
  const enrolled = db.selectFrom('nodes').selectAll().where('revoked_at', 'is', null);
  const byName = hot<{ name: string }>()((value) => enrolled.where('name', '=', value('name')).compile());
  const byEk = hot<{ ekDigest: string }>()((value) =>
    enrolled.where('ek_digest', '=', value('ekDigest')).compile(),
  );
  const pins = db.selectFrom('pins').selectAll();
  return {
    async node(name) {
      const [row] = (await db.executeQuery(byName({ name }))).rows;
      return row === undefined ? null : nodeOf(row);
    },

    async nodeByEk(ekDigest) {
      const [row] = (await db.executeQuery(byEk({ ekDigest }))).rows;
      return row === undefined ? null : nodeOf(row);
    },

    async holderOf({ keyDigest, akName }) {
      const row = await enrolled
        .where((is) => is.or([is('key_digest', '=', keyDigest), is('ak_name', '=', akName)]))
        .executeTakeFirst();
      return row === undefined ? null : nodeOf(row);
    },

    twins: () =>
      db
        .selectFrom('nodes as one')
        .innerJoin('nodes as other', (join) =>
          join
            .onRef('one.ek_digest', '!=', 'other.ek_digest')
            .on((is) =>
              is.or([
                is('one.key_digest', '=', is.ref('other.key_digest')),
                is('one.ak_name', '=', is.ref('other.ak_name')),
              ]),
            ),
        )
        .select(['one.name as name', 'other.name as twin'])
        .where('one.revoked_at', 'is', null)
        .where('other.revoked_at', 'is', null)
        .orderBy('one.name')
        .orderBy('other.name')
        .execute(),

    async ofTrial() {
      const rows = await db
        .selectFrom('nodes')
        .select('name')
        .where('revoked_at', 'is', null)
        .where('trial', '=', 1)
        .execute();
      return rows.map(({ name }) => name);
    },

    async firstUsesFrom(source) {
      const { count } = await db
        .selectFrom('nodes')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .where('revoked_at', 'is', null)
        .where('bound', '=', 'first-use')
        .where('enrolled_from', '=', source)
        .executeTakeFirstOrThrow();
      return Number(count);
    },

    async nodes() {
      const rows = await enrolled.where('ek_digest', 'not in', archivedKeys(db)).orderBy('name').execute();
      return parseRows(rows, nodeOf, onUnreadable);
    },

    everyNode: async () => parseRows(await enrolled.orderBy('name').execute(), nodeOf, onUnreadable),

    async enrol(node, event, joinTokenId, superseded) {
      if (superseded !== undefined) await settled();
      await forMachines(async (transaction) => {
        if (superseded !== undefined) {
          const { ekDigest, reason, audit } = superseded;
          await revokeRecord(transaction, { name: node.name, ekDigest, at: node.enrolledAt, reason });
          await append(transaction, audit);
        }
        if (joinTokenId !== undefined) await spendJoinToken(transaction, joinTokenId, node);
        if (node.bound === 'approval') await takeApproval(transaction, node.name, node.ekDigest);
        await insertNode(database, transaction, node);
        await transaction
          .deleteFrom('candidates')
          .where('node', '=', node.name)
          .where('ek_digest', '=', node.ekDigest)
          .execute();
        await transaction
          .insertInto('statuses')
          .values({
            ...unproven,
            ek_digest: node.ekDigest,
            since: node.enrolledAt,
            // Attack: a node is enrolled again, so that it is forgotten which volume keys somebody may have.
            memory: ({ selectFrom }) =>
              selectFrom('volumes')
                .select(sql<string>`json_object('volumeKeys', json(keys_memory))`.as('memory'))
                .where('node', '=', node.name)
                .where('keys_memory', 'is not', null)
                .limit(1),
          })
          .execute();
        // The TPM may have been a node before, also under another name.
        const proof = { ...noProof, node: node.name };
        await transaction
          .insertInto('proofs')
          .values({ ...proof, ek_digest: node.ekDigest })
          .onConflict((conflict) => conflict.column('ek_digest').doUpdateSet(proof))
          .execute();
        await append(transaction, event);
      });
    },

    async wasRevoked(keys, providerId) {
      const rows = await db
        .selectFrom('nodes')
        .select('provider_id')
        .where((is) => is.or(isOneOf(is, keys)))
        .where('revoked_at', 'is not', null)
        .execute();
      return rows.some(
        ({ provider_id: machine }) => providerId === undefined || machine === null || machine === providerId,
      );
    },

    async revokedKeys(name) {
      const rows = await db
        .selectFrom('nodes')
        .select('ek_digest')
        .where('name', '=', name)
        .where('revoked_at', 'is not', null)
        .orderBy('revoked_at', 'desc')
        .execute();
      return rows.map(({ ek_digest: ekDigest }) => ekDigest);
    },

    async revoke(node, event) {
      await settled();
      await db.transaction().execute(async (transaction) => {
        await revokeRecord(transaction, node);
        await append(transaction, event);
      });
    },

    async forgetSequence(ekDigest, event) {
      await settled();
      await db.transaction().execute(async (transaction) => {
        await transaction
          .updateTable('statuses')
          .set({
            reset_count: null,
            restart_count: null,
            firmware_version: null,
            boot_id: null,
            sequence: null,
          })
          .where('ek_digest', '=', ekDigest)
          .execute();
        await transaction
          .updateTable('proofs')
          .set({ clock: null })
          .where('ek_digest', '=', ekDigest)
          .execute();
        await append(transaction, event);
      });
    },

    async fixBanks(ekDigest, banks) {
      await db
        .updateTable('nodes')
        .set({ banks: JSON.stringify(banks) })
        .where('ek_digest', '=', ekDigest)
        .where('banks', 'is', null)
        .execute();
    },

    async seen() {
      const rows = await db
        .selectFrom('statuses')
        .innerJoin('nodes', 'nodes.ek_digest', 'statuses.ek_digest')
        .select(['name', 'seen_address', 'seen_agent'])
        .where('seen_address', 'is not', null)
        .where('statuses.ek_digest', 'not in', archivedKeys(db))
        .execute();
      return rows.map(({ name, seen_address, seen_agent }) => ({
        name,
        address: seen_address ?? '',
        agent: seen_agent ?? '',
      }));
    },

    saveSeen: (changed) =>
      forMachines(async (transaction) => {
        for (const { ekDigest, address, agent } of changed)
          await transaction
            .updateTable('statuses')
            .set({ seen_address: address, seen_agent: agent })
            .where('ek_digest', '=', ekDigest)
            .execute();
      }),

    async machinesWithoutTpm() {
      const rows = await db.selectFrom('machines_without_tpm').selectAll().orderBy('seen_at').execute();
      return rows.map(({ node, seen_at }) => ({ node, seenAt: seen_at }));
    },

    saveMachinesWithoutTpm: ({ changed, gone }) =>
      forMachines(async (transaction) => {
        for (const node of gone)
          await transaction.deleteFrom('machines_without_tpm').where('node', '=', node).execute();
        for (const { node, seenAt } of changed)
          await transaction
            .insertInto('machines_without_tpm')
            .values({ node, seen_at: seenAt })
            .onConflict((conflict) => conflict.column('node').doUpdateSet({ seen_at: seenAt }))
            .execute();
      }),

    pins: async () => (await pins.orderBy('node').execute()).map(pinOf),

    async pinFor(node) {
      const row = await pins.where('node', '=', node).executeTakeFirst();
      return row === undefined ? null : pinOf(row);
    },

    /** A later pin of a node or a key replaces an earlier pin or approval. Enrolled nodes do not change. */
    addPins: (added, event) =>
      db.transaction().execute(async (transaction) => {
        const names = new Set(added.map(({ node }) => node));
        const keys = new Set(added.map(({ ekDigest }) => ekDigest));
        if (names.size < added.length || keys.size < added.length) {
          throw new Error('the list names a node or an endorsement key twice: keep one line of each');
        }
        for (const { node, ekDigest } of added) {
          await takeBack(transaction, node, ekDigest);
          await transaction
            .insertInto('pins')
            .values({ node, ek_digest: ekDigest, by: event.actor })
            .execute();
        }
        await append(transaction, event);
      }),

    async joinToken(id) {
      const row = await db.selectFrom('join_tokens').selectAll().where('id', '=', id).executeTakeFirst();
      return row === undefined ? null : joinTokenOf(row);
    },

    addJoinToken: (token, event) =>
      db.transaction().execute(async (transaction) => {
        await transaction.insertInto('join_tokens').values(joinTokenRow(token)).execute();
        await append(transaction, event);
      }),

    async joinTokens() {
      const rows = await db.selectFrom('join_tokens').selectAll().orderBy('expires_at', 'desc').execute();
      return rows.map(joinTokenOf);
    },

    removeJoinToken: (id, event) =>
      db.transaction().execute(async (transaction) => {
        const gone = await transaction
          .deleteFrom('join_tokens')
          .where('id', '=', id)
          .where('used_at', 'is', null)
          .returning('node')
          .executeTakeFirst();
        if (gone === undefined) return false;
        await append(transaction, event(gone.node));
        return true;
      }),

    async candidates() {
      const rows = await db.selectFrom('candidates').selectAll().orderBy('last_seen').execute();
      return rows.map(candidateOf);
    },

    saveCandidates: ({ changed, gone }) =>
      forMachines(async (transaction) => {
        for (const { node, ekDigest } of gone)
          await transaction
            .deleteFrom('candidates')
            .where('node', '=', node)
            .where('ek_digest', '=', ekDigest)
            .execute();
        for (const candidate of changed)
          await transaction
            .insertInto('candidates')
            .values(candidateRow(candidate))
            .onConflict((conflict) =>
              conflict.columns(['node', 'ek_digest']).doUpdateSet(candidateRow(candidate)),
            )
            .execute();
      }),

    async approvalFor(node) {
      const row = await db.selectFrom('approvals').selectAll().where('node', '=', node).executeTakeFirst();
      return row === undefined ? null : approvalOf(row);
    },

    approvals: async () =>
      (await db.selectFrom('approvals').selectAll().orderBy('node').execute()).map(approvalOf),

    /** A later approval of a node or a key replaces an earlier approval or pin. */
    addApproval: ({ node, ekDigest, by, at }, event) =>
      db.transaction().execute(async (transaction) => {
        await takeBack(transaction, node, ekDigest);
        await transaction.insertInto('approvals').values({ node, ek_digest: ekDigest, by, at }).execute();
        await append(transaction, event);
      }),

    approveAfterTrial: ({ name, ekDigest, bound }, event) =>
      db.transaction().execute(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('nodes')
          .set({ bound, enrolled_by: event.actor, trial: 0 })
          .where('ek_digest', '=', ekDigest)
          .where('name', '=', name)
          .where('revoked_at', 'is', null)
          .executeTakeFirstOrThrow();
        if (numUpdatedRows !== 1n) throw new Rejection('enrolment_pending', `${name} was revoked meanwhile`);
        await append(transaction, event);
      }),

    approveFirstUse: (nodes, event) =>
      db.transaction().execute(async (transaction) => {
        const approved: string[] = [];
        for (const { name, ekDigest } of nodes) {
          const { numUpdatedRows } = await transaction
            .updateTable('nodes')
            .set({ bound: 'approval', enrolled_by: event(name, ekDigest).actor })
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
  };
}

/** Replaces a revoked record of the same key; its content stays in the audit log. */
async function insertNode(
  { isUniqueViolation }: Database,
  transaction: Kysely<Tables>,
  node: EnrolledNode,
): Promise<void> {
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
  // It was identified before the revocation, and so by what is used up.
  throw new Rejection('enrolment_pending', `the key of ${node.name} was revoked meanwhile`);
}

async function bindingOf(db: Kysely<Tables>, node: EnrolledNode): Promise<string | null> {
  const bound = await db
    .selectFrom('nodes')
    .select(['name', 'ek_digest'])
    .where((is) => is.or([is('name', '=', node.name), ...isOneOf(is, node)]))
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  if (bound === undefined) return null;
  return bound.name === node.name
    ? `the name ${node.name} is bound to the endorsement key ${bound.ek_digest}`
    : `the TPM with the endorsement key ${node.ekDigest} is bound to ${bound.name}`;
}

function isOneOf(is: ExpressionBuilder<Tables, 'nodes'>, { ekDigest, keyDigest, akName }: TpmKeys) {
  return [
    is('ek_digest', '=', ekDigest),
    is('key_digest', '=', keyDigest),
    is('ak_name', '=', akName),
  ] as const;
}

const unproven = {
  state: 'pending',
  verdict: null,
  trusted_at: null,
  boot_seen_at: null,
  booted_after: null,
  booted_at: null,
  reset_count: null,
  restart_count: null,
  firmware_version: null,
  boot_id: null,
  sequence: null,
  kernel: null,
  system_uuid: null,
  parts: '{}',
  memory: null,
  recorded_at: null,
  recorded_evidence: null,
  trusted_by: null,
  seen_address: null,
  seen_agent: null,
} as const;

const noProof = {
  verified_at: null,
  expires_at: null,
  clock: null,
  repeats: 0,
  evidence_digest: null,
  bytes: null,
} as const;

/** Part of a revocation's transaction. @throws Rejection `enrolment_pending` if the node is not enrolled with this key */
async function revokeRecord(
  transaction: Kysely<Tables>,
  { name, ekDigest, at, reason }: Revocation,
): Promise<void> {
  const { numUpdatedRows } = await transaction
    .updateTable('nodes')
    .set({ revoked_at: at, revoked_reason: reason })
    .where('ek_digest', '=', ekDigest)
    .where('name', '=', name)
    .where('revoked_at', 'is', null)
    .executeTakeFirstOrThrow();
  if (numUpdatedRows !== 1n) throw new Rejection('enrolment_pending', `${name} is not enrolled`);
  await transaction
    .updateTable('volumes')
    .set({
      keys_memory: ({ selectFrom }) =>
        selectFrom('statuses')
          .select(sql<string>`memory -> '$.volumeKeys'`.as('keys'))
          .where('ek_digest', '=', ekDigest),
    })
    .where('node', '=', name)
    .execute();
  await transaction.deleteFrom('statuses').where('ek_digest', '=', ekDigest).execute();
  await transaction.deleteFrom('presence').where('ek_digest', '=', ekDigest).execute();
  await transaction.deleteFrom('key_refusals').where('ek_digest', '=', ekDigest).execute();
  await transaction.deleteFrom('key_addresses').where('ek_digest', '=', ekDigest).execute();
  // Whatever vouched before is used up: the TPM that comes again needs a new one.
  await takeBack(transaction, name, ekDigest);
  await transaction.deleteFrom('join_tokens').where('node', '=', name).where('used_at', 'is', null).execute();
}

/** Removes the approvals and pins of this node, and those of this key. */
export async function takeBack(transaction: Kysely<Tables>, node: string, ekDigest: string): Promise<void> {
  for (const table of ['approvals', 'pins'] as const)
    await transaction
      .deleteFrom(table)
      .where((is) => is.or([is('node', '=', node), is('ek_digest', '=', ekDigest)]))
      .execute();
}

/** Uses up an approval, in the same transaction as its one enrolment. */
async function takeApproval(transaction: Kysely<Tables>, node: string, ekDigest: string): Promise<void> {
  const { numDeletedRows } = await transaction
    .deleteFrom('approvals')
    .where('node', '=', node)
    .where('ek_digest', '=', ekDigest)
    .executeTakeFirstOrThrow();
  if (numDeletedRows !== 1n)
    throw new Rejection('enrolment_pending', `the approval of ${node} was taken back or used`);
}

/** Uses up a join token, in the same transaction as its one enrolment: it is for one name and one lifetime. */
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

function rowOf(node: EnrolledNode): NodeRow {
  return {
    ek_digest: node.ekDigest,
    key_digest: node.keyDigest,
    name: node.name,
    bound: node.bound,
    ek_public_area: node.ekPublicArea,
    ek_certificate: node.ekCertificate,
    ak_public_area: node.akPublicArea,
    ak_name: node.akName,
    banks: node.banks === null ? null : JSON.stringify(node.banks),
    manufacturer: node.manufacturer,
    tpm_class: node.tpmClass,
    endorsed_by: node.endorsedBy,
    provider_id: node.providerId ?? null,
    enrolled_at: node.enrolledAt,
    enrolled_from: node.enrolledFrom ?? null,
    enrolled_by: node.enrolledBy,
    revoked_at: null,
    revoked_reason: null,
    trial: node.trial === true ? 1 : 0,
  };
}

const keptBanks = z.array(z.enum(pcrBanks));

/** @throws UnreadableRow */
export function nodeOf(row: NodeRow): EnrolledNode {
  return parseRow('node', row.name, () => ({
    ekDigest: row.ek_digest,
    keyDigest: row.key_digest,
    name: row.name,
    bound: knownWord(enrolmentMethods, row.bound, 'bound'),
    ekPublicArea: toBuffer(row.ek_public_area),
    ekCertificate: optionalBuffer(row.ek_certificate),
    akPublicArea: toBuffer(row.ak_public_area),
    akName: row.ak_name,
    banks: row.banks === null ? null : keptBanks.parse(JSON.parse(row.banks)),
    manufacturer: row.manufacturer,
    tpmClass: knownWord(tpmClasses, row.tpm_class, 'TPM class'),
    endorsedBy: row.endorsed_by,
    ...(row.provider_id !== null && { providerId: row.provider_id }),
    ...(row.enrolled_from !== null && { enrolledFrom: row.enrolled_from }),
    enrolledAt: row.enrolled_at,
    enrolledBy: row.enrolled_by,
    ...(row.trial !== 0 && { trial: true as const }),
  }));
}

function pinOf(row: Tables['pins']): KeptPin {
  return { node: row.node, ekDigest: row.ek_digest, by: row.by };
}

function joinTokenRow(token: JoinToken): Tables['join_tokens'] {
  return {
    id: token.id,
    secret_hash: token.secretHash,
    node: token.node,
    expires_at: token.expiresAt,
    used_at: token.usedAt,
    by: token.by,
  };
}

function joinTokenOf(row: Tables['join_tokens']): JoinToken {
  return {
    id: row.id,
    secretHash: row.secret_hash,
    node: row.node,
    expiresAt: row.expires_at,
    usedAt: row.used_at,
    by: row.by,
  };
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
