import type { ApiToken, TokenStore } from '../http/ports.ts';
import type { Append } from './audit.ts';
import type { Database } from './database.ts';
import type { Tables } from './schema.ts';
import { hot } from './statements.ts';

/** Tokens of people and programs, with hashes of the secrets only. */
export function tokenStore({ db, isUniqueViolation }: Database, append: Append): TokenStore {
  const byId = hot<{ id: string }>()((value) =>
    db.selectFrom('api_tokens').selectAll().where('id', '=', value('id')).compile(),
  );
  return {
    async find(id) {
      const [row] = (await db.executeQuery(byId({ id }))).rows;
      return row === undefined ? null : tokenOf(row);
    },

    list: async () => (await db.selectFrom('api_tokens').selectAll().orderBy('name').execute()).map(tokenOf),

    add: (token, event) =>
      db.transaction().execute(async (transaction) => {
        // A name whose token is over is free: who renews it need not revoke it first.
        await transaction
          .deleteFrom('api_tokens')
          .where('name', '=', token.name)
          .where('expires_at', '<=', token.createdAt)
          .execute();
        try {
          await transaction.insertInto('api_tokens').values(rowOf(token)).execute();
        } catch (cause) {
          if (isUniqueViolation(cause)) return false;
          throw cause;
        }
        await append(transaction, event);
        return true;
      }),

    remove: (name, event) =>
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
