import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { NotNull } from 'kysely';
import type { EvidenceStore } from '../evidence/ports.ts';
import type { Append } from './audit.ts';
import { toBuffer } from './columns.ts';
import type { Database } from './database.ts';
import { heldByNode } from './held.ts';
import { retention } from './retention.ts';
import { hot } from './statements.ts';
import { parseRow } from './unreadable-row.ts';
import { unusedEvidence } from './unused-evidence.ts';
import type { VerdictWriter } from './verdict-writer.ts';

/** Rows of history that are read at a time. */
const page = 500;

export function evidenceStore(database: Database, append: Append, writer: VerdictWriter): EvidenceStore {
  const { db } = database;
  const { waiting } = writer;
  const shared = hot<{ digest: string }>()((value) =>
    db.selectFrom('evidence').select('bytes').where('digest', '=', value('digest')).compile(),
  );
  const latest = hot<{ node: string; digest: string }>()((value) =>
    db
      .selectFrom('proofs')
      .select('bytes')
      .where('node', '=', value('node'))
      .where('evidence_digest', '=', value('digest'))
      .where('bytes', 'is not', null)
      .$narrowType<{ bytes: NotNull }>()
      .compile(),
  );

  async function own(digest: string, node: string): Promise<{ readonly bytes: Uint8Array } | undefined> {
    const [found] = (await db.executeQuery(latest({ node, digest }))).rows;
    return found ?? ownOfRow(digest, node);
  }

  async function ownOfRow(digest: string, node: string) {
    for await (const rows of rowsOf(node)) {
      const ids = rows.flatMap(({ id, evidence_digest }) => (evidence_digest === digest ? [id] : []));
      if (ids.length === 0) continue;
      const answers = db.selectFrom('answers').select('bytes').where('id', 'in', ids);
      const found = await answers.executeTakeFirst();
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Rows of the history, latest first, page by page: a node may have many. */
  async function* rowsOf(node: string) {
    for (let end = Number.MAX_SAFE_INTEGER; ; ) {
      const rows = await db
        .selectFrom('history')
        .select(['id', 'at', 'evidence_digest'])
        .where('node', '=', node)
        .where('at', '<', end)
        .orderBy('at', 'desc')
        .limit(page)
        .execute();
      yield rows;
      const last = rows.at(-1);
      if (last === undefined || rows.length < page) return;
      end = last.at;
      await setImmediate();
    }
  }

  async function sharedBlob(digest: string): Promise<{ readonly bytes: Uint8Array } | undefined> {
    return (await db.executeQuery(shared({ digest }))).rows[0];
  }

  return {
    /** @throws UnreadableRow if the bytes no longer match the digest */
    async read(digest, node) {
      const underWay = node === undefined ? null : waiting(node, digest);
      if (underWay !== null) return underWay;
      const row = (await sharedBlob(digest)) ?? (node === undefined ? undefined : await own(digest, node));
      return row === undefined ? null : bytesOf(row, digest);
    },

    /** @throws UnreadableRow as `read` */
    async readShared(digest, node) {
      const underWay = waiting(node, digest);
      if (underWay !== null) return underWay;
      const row = await sharedBlob(digest);
      return row === undefined ? null : bytesOf(row, digest);
    },

    async named(node, digits) {
      const latestOnes = await db
        .selectFrom('proofs')
        .select('evidence_digest')
        .where('node', '=', node)
        .where('bytes', 'is not', null)
        .execute();
      const found = new Set<string>();
      for (const { evidence_digest: digest } of latestOnes) if (digest?.startsWith(digits)) found.add(digest);
      for await (const rows of rowsOf(node)) {
        for (const { evidence_digest: digest } of rows) if (digest?.startsWith(digits)) found.add(digest);
        if (found.size > 1) break;
      }
      return [...found].slice(0, 2);
    },

    async owners() {
      const rows = await db.selectFrom('nodes').select('name').distinct().orderBy('name').execute();
      return rows.map(({ name }) => name);
    },

    erase: retention(db, append),
    eraseUnused: unusedEvidence(db, append),
    ...heldByNode(database, append, writer),
  };
}

function bytesOf({ bytes }: { readonly bytes: Uint8Array }, digest: string): Buffer {
  return parseRow('evidence', digest, () => {
    const actual = hash('sha256', bytes, 'hex');
    if (actual !== digest) throw new Error(`its bytes have the digest ${actual}`);
    return toBuffer(bytes);
  });
}
