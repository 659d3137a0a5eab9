import type { Kysely } from 'kysely';
import type { Append } from './audit-log.ts';
import { isUniqueViolation } from './constraint.ts';
import { hot } from './hot-query.ts';
import type { Tables } from './schema.ts';
import type { ApiToken, Store } from './store.ts';

/** Tokens of people and programs: only the hashes of their secrets. */
export function apiTokenRecords(
  db: Kysely<Tables>,
  append: Append,
): Pick<Store, 'apiToken' | 'apiTokens' | 'addApiToken' | 'removeApiToken'> {
  const byId = hot<{ id: string }>()((value) =>
    db.selectFrom('api_tokens').selectAll().where('id', '=', value('id')).compile(),
  );
  return {
    async apiToken(id) {
      const [row] = (await db.executeQuery(byId({ id }))).rows;
      return row === undefined ? null : tokenOf(row);
    },

    apiTokens: async () =>
      (await db.selectFrom('api_tokens').selectAll().orderBy('name').execute()).map(tokenOf),

    addApiToken: (token, event) =>
      db.transaction().execute(async (transaction) => {
        try {
          await transaction.insertInto('api_tokens').values(rowOf(token)).execute();
        } catch (cause) {
          if (isUniqueViolation(cause)) return false;
          throw cause;
        }
        await append(transaction, event);
        return true;
      }),

    removeApiToken: (name, event) =>
      db.transaction().execute(async (transaction) => {
        const { numDeletedRows } = await transaction
          .deleteFrom('api_tokens')
          .where('name', '=', name)
          .executeTakeFirstOrThrow();
        if (numDeletedRows === 0n) return false;
        await append(transaction, event);
        return true;
      }),
  };
}

function rowOf(token: ApiToken): Tables['api_tokens'] {
  return {
    id: token.id,
    name: token.name,
    role: token.role,
    secret_hash: token.secretHash,
    created_by: token.createdBy,
    created_at: token.createdAt,
    expires_at: token.expiresAt,
  };
}

function tokenOf(row: Tables['api_tokens']): ApiToken {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    secretHash: row.secret_hash,
    createdBy: row.created_by,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
  };
}
