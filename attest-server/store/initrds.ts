import type { Selectable } from 'kysely';
import type { InitrdStore, KeptInitrd } from '../attest/ports.ts';
import type { Database } from './database.ts';
import type { Tables } from './schema.ts';

/** Known initrds, by the digests of the image. */
export function initrdStore({ db }: Database): InitrdStore {
  return {
    async all() {
      const rows = await db.selectFrom('initrds').selectAll().orderBy('used_at').execute();
      return rows.map(keptOf);
    },

    async keep({ manifest, bytes, usedAt, image: { sha256, sha384, sha512 } }) {
      const of = { manifest, bytes, used_at: usedAt };
      await db
        .insertInto('initrds')
        .values({ sha256, sha384, sha512, ...of })
        .onConflict((conflict) => conflict.column('sha256').doUpdateSet(of))
        .execute();
    },

    async forget(sha256) {
      await db.deleteFrom('initrds').where('sha256', '=', sha256).execute();
    },
  };
}

function keptOf({
  manifest,
  bytes,
  used_at: usedAt,
  sha256,
  sha384,
  sha512,
}: Selectable<Tables['initrds']>): KeptInitrd {
  return { manifest, bytes, usedAt, image: { sha256, sha384, sha512 } };
}
