import {
  type ExpressionBuilder,
  type Kysely,
  type Selectable,
  type SqlBool,
  sql,
  type Transaction,
} from 'kysely';
import { z } from 'zod';
import type {
  Delivered,
  Delivery,
  LeaseEnd,
  LeaseStore,
  ReferenceAmendment,
  RefusedBoot,
  StoredVolume,
  Volume,
  WrappedSecret,
} from '../keys/ports.ts';
import { reasonCodes } from '../wire/reasons.ts';
import type { Append } from './audit.ts';
import type { Database } from './database.ts';
import { groupCommit } from './group-commit.ts';
import { referenceOf, type StoredReferences } from './references.ts';
import type { Tables, VolumeRow } from './schema.ts';

/** Volumes with their wrapped keys, and the boots that got them. */
export function leaseStore(
  { db, forMachines, isUniqueViolation }: Database,
  append: Append,
  references: Pick<StoredReferences, 'writeWithin' | 'forget'>,
): LeaseStore {
  const volumes = db
    .selectFrom('volumes')
    .select(shownColumns)
    .select(({ eb, selectFrom }) => {
      // By the TPM, too: that is what its index begins with.
      const leases = selectFrom('leases')
        .whereRef('leases.ek_digest', '=', 'volumes.ek_digest')
        .whereRef('leases.volume', '=', 'volumes.uuid');
      return [
        eb('volumes.reference', 'is not', null).as('is_to_enrol'),
        leases.select(({ fn }) => fn.max('delivered_at').as('at')).as('released_at'),
        leases.select(({ fn }) => fn.max('capped_at').as('at')).as('capped_at'),
      ];
    });
  const decide = async (
    transaction: Transaction<Tables>,
    { ekDigest, volume, resetCount, leaseId, at, most, address, rotatingSince }: Delivery,
    event: Parameters<LeaseStore['deliver']>[1],
  ): Promise<Delivered> => {
    const ofBoot = { ek_digest: ekDigest, volume, reset_count: resetCount };
    const given = await transaction
      .selectFrom('volumes')
      .select('uuid')
      .where('uuid', '=', volume)
      .where('ek_digest', '=', ekDigest)
      .where('revoked_at', 'is', null)
      .where('rotating_since', 'is', rotatingSince)
      .executeTakeFirst();
    if (given === undefined) return 'key_withheld';
    // A person approved a TPM again whose counters went back: its boots have numbers of earlier ones now.
    await transaction
      .deleteFrom('leases')
      .where('ek_digest', '=', ekDigest)
      .where('volume', '=', volume)
      .where('reset_count', '>', resetCount)
      .execute();
    // The decision is this statement: of two requests at once one comes second here.
    const row = await transaction
      .insertInto('leases')
      .values({
        ...ofBoot,
        lease_id: leaseId,
        deliveries: 1,
        first_delivered_at: at,
        delivered_at: at,
        capped_at: null,
      })
      .onConflict((conflict) =>
        conflict
          .columns(['ek_digest', 'volume', 'reset_count'])
          .doUpdateSet({ deliveries: sql`leases.deliveries + 1`, delivered_at: at })
          .where('leases.deliveries', '<', most)
          .where('leases.capped_at', 'is', null),
      )
      .returning(['lease_id', 'deliveries'])
      .executeTakeFirst();
    if (row !== undefined) {
      await transaction
        .deleteFrom('leases')
        .where('ek_digest', '=', ekDigest)
        .where('volume', '=', volume)
        .where('reset_count', 'not in', ({ selectFrom }) =>
          selectFrom('leases')
            .select('reset_count')
            .where('ek_digest', '=', ekDigest)
            .where('volume', '=', volume)
            .orderBy('reset_count', 'desc')
            .limit(keptBoots),
        )
        .execute();
      const isNewAddress = address !== null && (await isNew(transaction, { ekDigest, address, at }));
      const delivered = { leaseId: row.lease_id, deliveries: row.deliveries, isNewAddress };
      await transaction
        .deleteFrom('key_refusals')
        .where('ek_digest', '=', ekDigest)
        .where(({ eb, or }) => or([eb('volume', '=', volume), eb('reset_count', '!=', resetCount)]))
        .execute();
      await append(transaction, event(delivered));
      return delivered;
    }
    const end = await endOf(transaction, ofBoot, most);
    if (end === null) throw new Error('a lease that takes no delivery, and has not ended');
    return end;
  };
  // Where many boot at once, a sync to disk for each would hold up the others.
  const deliveries = groupCommit<(transaction: Transaction<Tables>) => Promise<void>>((batch) =>
    forMachines(async (transaction) => {
      for (const each of batch) await each(transaction);
      return batch.map(() => null);
    }),
  );
  const changeReference = async (
    transaction: Transaction<Tables>,
    { name, amend }: ReferenceAmendment,
  ): Promise<void> => {
    const row = await transaction
      .selectFrom('reference_values')
      .selectAll()
      .where('name', '=', name)
      .executeTakeFirst();
    if (row === undefined) return;
    await transaction
      .updateTable('reference_values')
      .set({ body: JSON.stringify(amend(referenceOf(row))) })
      .where('name', '=', name)
      .execute();
  };
  return {
    volumes: async () => (await volumes.orderBy('node').orderBy('name').execute()).map(shownOf),

    async volume(uuid) {
      const row = await volumes.where('uuid', '=', uuid).executeTakeFirst();
      return row === undefined ? null : storedOf(row);
    },

    add: (volume, event) =>
      db.transaction().execute(async (transaction) => {
        const { key, recovery } = volume;
        const { count } = await transaction
          .selectFrom('volumes')
          .select(({ fn }) => fn.countAll<number>().as('count'))
          .where('ek_digest', '=', volume.ekDigest)
          .where('path', '=', volume.path)
          .executeTakeFirstOrThrow();
        if (count > 0) return false;
        try {
          await transaction
            .insertInto('volumes')
            .values({
              uuid: volume.uuid,
              node: volume.node,
              ek_digest: volume.ekDigest,
              name: volume.name,
              path: volume.path,
              key_id: key.keyId,
              wrapped_key: key.bytes,
              recovery_key_id: recovery.keyId,
              wrapped_recovery: recovery.bytes,
              recovery_escrow: volume.recoveryEscrow,
              recovery_recipients: JSON.stringify(volume.recipients),
              header_escrow: null,
              header_digest: null,
              reference: null,
              created_at: volume.createdAt,
              created_by: volume.createdBy,
              formatted_at: null,
            })
            .execute();
        } catch (cause) {
          if (isUniqueViolation(cause)) return false;
          throw cause;
        }
        await append(transaction, event);
        return true;
      }),

    remove: (uuid, event) =>
      db.transaction().execute(async (transaction) => {
        const { numDeletedRows } = await transaction
          .deleteFrom('volumes')
          .where('uuid', '=', uuid)
          .executeTakeFirstOrThrow();
        if (numDeletedRows === 0n) return false;
        for (const table of ['key_refusals', 'leases'] as const)
          await transaction.deleteFrom(table).where('volume', '=', uuid).execute();
        await append(transaction, event);
        return true;
      }),

    revoke: (uuid, revoked, event) =>
      db.transaction().execute(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('volumes')
          .set({
            revoked_at: revoked?.at ?? null,
            revoked_by: revoked?.by ?? null,
            revoked_because: revoked?.because ?? null,
          })
          .where('uuid', '=', uuid)
          .where('revoked_at', revoked === null ? 'is not' : 'is', null)
          .executeTakeFirstOrThrow();
        if (numUpdatedRows > 0n) await append(transaction, event);
        return numUpdatedRows > 0n;
      }),

    async escrow(uuid, event) {
      const row = await db
        .selectFrom('volumes')
        .select(['recovery_escrow', 'header_escrow'])
        .where('uuid', '=', uuid)
        .executeTakeFirst();
      if (row === undefined) return null;
      await db.transaction().execute((transaction) => append(transaction, event));
      const { recovery_escrow: recovery, header_escrow: header } = row;
      return { recovery: Buffer.from(recovery), header: header && Buffer.from(header) };
    },

    spent: ({ ekDigest, volume, resetCount, most }) =>
      endOf(db, { ek_digest: ekDigest, volume, reset_count: resetCount }, most),

    async deliver(delivery, event) {
      // The last decision counts: of a batch that was rolled back nothing stays, and each is decided again.
      const last: { delivered?: Delivered } = {};
      await deliveries.add(async (transaction) => {
        last.delivered = await decide(transaction, delivery, event);
      });
      if (last.delivered === undefined) throw new Error('a delivery that nobody decided');
      return last.delivered;
    },

    refuse: ({ ekDigest, volume, resetCount, code, text, at }, event) =>
      forMachines(async (transaction) => {
        // Attack: a node that asks for ever other volumes, none of which is its own.
        await transaction
          .deleteFrom('key_refusals')
          .where('ek_digest', '=', ekDigest)
          .where(({ eb, and, or, val, selectFrom }) => {
            const own = selectFrom('volumes').select('uuid').where('ek_digest', '=', ekDigest);
            return or([
              eb('volume', '=', volume),
              eb('reset_count', '!=', resetCount),
              and([eb('volume', 'not in', own), eb(val(volume), 'not in', own)]),
            ]);
          })
          .execute();
        await transaction
          .insertInto('key_refusals')
          .values({ ek_digest: ekDigest, volume, reset_count: resetCount, code, text, at })
          .execute();
        if (event !== null) await append(transaction, event);
      }),

    async refusals(ekDigest) {
      const rows = await db
        .selectFrom('key_refusals')
        .selectAll()
        .$if(ekDigest !== undefined, (query) => query.where('ek_digest', '=', ekDigest ?? ''))
        .orderBy('ek_digest')
        .orderBy('at')
        .orderBy('volume')
        .execute();
      return rows.map(refusedOf);
    },

    consume: ({ leaseId, ekDigest, at }, event) =>
      forMachines(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('leases')
          .set({ capped_at: at })
          .where('lease_id', '=', leaseId)
          .where('ek_digest', '=', ekDigest)
          .where('capped_at', 'is', null)
          .executeTakeFirstOrThrow();
        if (numUpdatedRows === 0n) return false;
        await append(transaction, event);
        return true;
      }),

    async leased({ leaseId, ekDigest }) {
      const row = await volumes
        .innerJoin('leases as own', 'own.volume', 'volumes.uuid')
        .where('own.lease_id', '=', leaseId)
        .where('own.ek_digest', '=', ekDigest)
        .whereRef('volumes.ek_digest', '=', 'own.ek_digest')
        .executeTakeFirst();
      return row === undefined ? null : storedOf(row);
    },

    async keepHeader({ uuid, headerDigest, recoverySlotDigest, escrow, recipients, reference }) {
      const { numUpdatedRows } = await forMachines((transaction) =>
        transaction
          .updateTable('volumes')
          .set({
            header_escrow: escrow,
            header_digest: headerDigest,
            header_recipients: JSON.stringify(recipients),
            recovery_slot_digest: recoverySlotDigest,
            reference: JSON.stringify(reference),
          })
          .where('uuid', '=', uuid)
          .where('formatted_at', 'is', null)
          .executeTakeFirstOrThrow(),
      );
      return numUpdatedRows > 0n;
    },

    formatted: ({ uuid, headerDigest, formattedAt }, event) =>
      forMachines(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('volumes')
          .set({ formatted_at: formattedAt, recovery_key_id: null, wrapped_recovery: null })
          .where('uuid', '=', uuid)
          .where('formatted_at', 'is', null)
          .where('header_digest', '=', headerDigest)
          .executeTakeFirstOrThrow();
        if (numUpdatedRows === 0n) return false;
        await append(transaction, event);
        return true;
      }),

    async enrol(uuid, event) {
      try {
        return await db.transaction().execute(async (transaction) => {
          const kept = await transaction
            .selectFrom('volumes')
            .select('reference as body')
            .where('uuid', '=', uuid)
            .executeTakeFirst();
          if (kept === undefined || kept.body === null) return false;
          const reference = referenceOf({ name: uuid, body: kept.body });
          const there = await transaction
            .selectFrom('reference_values')
            .select('name')
            .where('name', '=', reference.name)
            .executeTakeFirst();
          if (there === undefined)
            await references.writeWithin(transaction, [{ reference, audit: event(reference) }]);
          await transaction
            .updateTable('volumes')
            .set({ reference: null })
            .where('uuid', '=', uuid)
            .execute();
          return true;
        });
      } finally {
        references.forget();
      }
    },

    rotate: ({ uuid, ekDigest, key, rotation }, { since, by, nextKey, rebound }, event) =>
      db.transaction().execute(async (transaction) => {
        try {
          const { numUpdatedRows } = await transaction
            .updateTable('volumes')
            .set({
              rotating_since: since,
              rotating_by: by,
              next_key_id: nextKey.keyId,
              next_wrapped_key: nextKey.bytes,
              ...(rebound !== null && {
                ek_digest: rebound.ekDigest,
                key_id: rebound.key.keyId,
                wrapped_key: rebound.key.bytes,
              }),
            })
            .where('uuid', '=', uuid)
            .where('ek_digest', '=', ekDigest)
            .where('wrapped_key', '=', key.bytes)
            .where('formatted_at', 'is not', null)
            .where('rotating_since', 'is', (rebound && rotation?.since) ?? null)
            .where('revoked_at', 'is', null)
            .executeTakeFirstOrThrow();
          if (numUpdatedRows === 0n) return false;
        } catch (cause) {
          if (isUniqueViolation(cause)) return false;
          throw cause;
        }
        await append(transaction, event);
        return true;
      }),

    cancelRotation: (uuid, event) =>
      db.transaction().execute(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('volumes')
          .set(noRotation)
          .where('uuid', '=', uuid)
          .where('rotating_since', 'is not', null)
          .where('next_header_digest', 'is', null)
          .executeTakeFirstOrThrow();
        if (numUpdatedRows === 0n) return false;
        await append(transaction, event);
        return true;
      }),

    keepNextHeader: ({ uuid, leaseId, headerDigest, recoverySlotDigest, escrow, recipients }, change) =>
      forMachines(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('volumes')
          .set(({ fn, val }) => ({
            next_header_digest: headerDigest,
            next_header_escrow: escrow,
            next_header_recipients: JSON.stringify(recipients),
            // Of a volume that was formatted before servers kept it, the first one counts.
            recovery_slot_digest: fn.coalesce('recovery_slot_digest', val(recoverySlotDigest)),
          }))
          .where('uuid', '=', uuid)
          // Attack, or a mishap: a run of this boot still has the next key of a rotation that was called off since.
          .where('rotating_since', '<', ({ selectFrom }) =>
            selectFrom('leases')
              .select(({ fn }) => fn.coalesce('first_delivered_at', 'delivered_at').as('at'))
              .where('lease_id', '=', leaseId),
          )
          .executeTakeFirstOrThrow();
        if (numUpdatedRows > 0n) await changeReference(transaction, change);
        return numUpdatedRows > 0n;
      }).finally(references.forget),

    rotated: ({ uuid, headerDigest }, change, event) =>
      forMachines(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('volumes')
          .set(({ ref }) => ({
            header_digest: ref('next_header_digest'),
            header_escrow: ref('next_header_escrow'),
            header_recipients: ref('next_header_recipients'),
            key_id: sql<string>`next_key_id`,
            wrapped_key: sql<Uint8Array>`next_wrapped_key`,
            ...noRotation,
          }))
          .where('uuid', '=', uuid)
          .where('next_header_digest', '=', headerDigest ?? '')
          .executeTakeFirstOrThrow();
        if (numUpdatedRows === 0n) return false;
        await changeReference(transaction, change);
        await append(transaction, event);
        return true;
      }).finally(references.forget),

    async wrappedByOthers(current, after, most) {
      const rows = await volumes
        .where('uuid', '>', after)
        .where((is) =>
          is.or([
            is('key_id', '!=', current),
            is('next_key_id', '!=', current),
            is('recovery_key_id', '!=', current),
          ]),
        )
        .orderBy('uuid')
        .limit(most)
        .execute();
      return rows.map(storedOf);
    },

    async wrappedBy() {
      const rows = await volumes.execute();
      const counts = new Map<string, number>();
      for (const { key_id, next_key_id, recovery_key_id } of rows)
        for (const id of new Set([key_id, next_key_id, recovery_key_id]))
          if (id !== null) counts.set(id, (counts.get(id) ?? 0) + 1);
      return counts;
    },

    rewrap: (changes, event) =>
      // One sync to disk for all of them.
      db.transaction().execute(async (transaction) => {
        let count = 0;
        for (const {
          read: { uuid, ...before },
          by: { key, nextKey, recovery },
        } of changes) {
          const { numUpdatedRows } = await transaction
            .updateTable('volumes')
            .set({
              key_id: key.keyId,
              wrapped_key: key.bytes,
              next_key_id: nextKey?.keyId ?? null,
              next_wrapped_key: nextKey?.bytes ?? null,
              recovery_key_id: recovery?.keyId ?? null,
              wrapped_recovery: recovery?.bytes ?? null,
            })
            .where('uuid', '=', uuid)
            .where('wrapped_key', '=', before.key.bytes)
            .where('next_wrapped_key', 'is', before.nextKey?.bytes ?? null)
            .where('wrapped_recovery', 'is', before.recovery?.bytes ?? null)
            .executeTakeFirstOrThrow();
          count += Number(numUpdatedRows);
        }
        // Within it: whatever cuts off the rest, this says since when an earlier wrapping key is not needed.
        if (count > 0) await append(transaction, event(count));
        return count;
      }),
  };
}

const recipientsSchema = z.array(z.string());

/** Boots of a volume that are shown: an earlier one never comes again, as its TPM counts up, and gets no key of it. */
const keptBoots = 16;
/** Of one TPM, the latest. Attack: a node that asks from ever other addresses fills the disk. One that is forgotten is new again. */
const keptAddresses = 64;

/** All but the escrow: a header has a megabyte. */
const shownColumns = [
  'volumes.uuid',
  'volumes.node',
  'volumes.ek_digest',
  'volumes.name',
  'volumes.path',
  'volumes.key_id',
  'volumes.wrapped_key',
  'volumes.recovery_key_id',
  'volumes.wrapped_recovery',
  'volumes.header_digest',
  'volumes.created_at',
  'volumes.created_by',
  'volumes.formatted_at',
  'volumes.revoked_at',
  'volumes.revoked_by',
  'volumes.revoked_because',
  'volumes.rotating_since',
  'volumes.rotating_by',
  'volumes.next_key_id',
  'volumes.next_wrapped_key',
  'volumes.next_header_digest',
  'volumes.recovery_slot_digest',
  'volumes.recovery_recipients',
  'volumes.header_recipients',
] as const;

const noRotation = {
  rotating_since: null,
  rotating_by: null,
  next_key_id: null,
  next_wrapped_key: null,
  next_header_digest: null,
  next_header_escrow: null,
  next_header_recipients: null,
} as const;

type ShownColumn<Qualified> = Qualified extends `volumes.${infer Column extends keyof VolumeRow}`
  ? Column
  : never;

type FoundVolume = Pick<Selectable<VolumeRow>, ShownColumn<(typeof shownColumns)[number]>> & {
  readonly is_to_enrol: SqlBool;
  readonly released_at: number | null;
  readonly capped_at: number | null;
};

function isLease(boot: Pick<Tables['leases'], 'ek_digest' | 'volume' | 'reset_count'>) {
  return ({ and }: ExpressionBuilder<Tables, 'leases'>) => and({ ...boot });
}

function shownOf(row: FoundVolume): Volume {
  const { revoked_at: revokedAt, revoked_by: by, revoked_because: because } = row;
  return {
    node: row.node,
    ekDigest: row.ek_digest,
    uuid: row.uuid,
    name: row.name,
    path: row.path,
    headerDigest: row.header_digest,
    formattedAt: row.formatted_at,
    createdAt: row.created_at,
    createdBy: row.created_by,
    recipients: {
      passphrase: recipientsOf(row.recovery_recipients),
      header: recipientsOf(row.header_recipients),
    },
    revoked: revokedAt === null ? null : { at: revokedAt, by: by ?? '', because: because ?? '' },
    releasedAt: row.released_at,
    cappedAt: row.capped_at,
    rotation:
      row.rotating_since === null
        ? null
        : { since: row.rotating_since, by: row.rotating_by ?? '', headerDigest: row.next_header_digest },
  };
}

/** Null if the boot may have one more delivery. */
async function endOf(
  db: Kysely<Tables>,
  boot: Parameters<typeof isLease>[0],
  most: number,
): Promise<LeaseEnd | null> {
  const lease = await db
    .selectFrom('leases')
    .select(['deliveries', 'capped_at'])
    .where(isLease(boot))
    .executeTakeFirst();
  if (lease === undefined) return null;
  if (lease.capped_at !== null) return 'lease_consumed';
  return lease.deliveries < most ? null : 'lease_exhausted';
}

/** Keeps the address. The first one of a TPM is not new: there is nothing to compare it with. */
async function isNew(
  transaction: Transaction<Tables>,
  { ekDigest, address, at }: { readonly ekDigest: string; readonly address: string; readonly at: number },
): Promise<boolean> {
  const before = await transaction
    .selectFrom('key_addresses')
    .select('address')
    .where('ek_digest', '=', ekDigest)
    .orderBy('at', 'desc')
    .execute();
  await transaction
    .insertInto('key_addresses')
    .values({ ek_digest: ekDigest, address, at })
    .onConflict((conflict) => conflict.columns(['ek_digest', 'address']).doUpdateSet({ at }))
    .execute();
  const known = before.map((one) => one.address);
  if (known.includes(address)) return false;
  for (const forgotten of known.slice(keptAddresses - 1))
    await transaction
      .deleteFrom('key_addresses')
      .where('ek_digest', '=', ekDigest)
      .where('address', '=', forgotten)
      .execute();
  return known.length > 0;
}

function refusedOf(row: Tables['key_refusals']): RefusedBoot {
  return {
    ekDigest: row.ek_digest,
    volume: row.volume,
    resetCount: row.reset_count,
    // A later version may have had codes of its own.
    code: reasonCodes.find((code) => code === row.code) ?? 'key_withheld',
    text: row.text,
    at: row.at,
  };
}

function storedOf(row: FoundVolume): StoredVolume {
  return {
    ...shownOf(row),
    key: { keyId: row.key_id, bytes: Buffer.from(row.wrapped_key) },
    nextKey: secretOf(row.next_key_id, row.next_wrapped_key),
    isToEnrol: Boolean(row.is_to_enrol),
    recovery: secretOf(row.recovery_key_id, row.wrapped_recovery),
    recoverySlotDigest: row.recovery_slot_digest,
  };
}

function recipientsOf(json: string | null): readonly string[] | null {
  return json === null ? null : recipientsSchema.parse(JSON.parse(json));
}

function secretOf(keyId: string | null, bytes: Uint8Array | null): WrappedSecret | null {
  return keyId === null || bytes === null ? null : { keyId, bytes: Buffer.from(bytes) };
}
