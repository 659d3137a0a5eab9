import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { chainEntry, verifyChain } from '../../../attest-server/audit/chain.ts';
import { genesis } from '../../../attest-server/protocol/audit.ts';
import { migrate, schemaVersion } from '../../../attest-server/store/migrations.ts';
import { openSqliteStore } from '../../../attest-server/store/sqlite-store.ts';
import { madeEvent, madeNode, madeRecord } from './made-records.ts';

const node = madeNode('node-1');
const record = madeRecord(node, 5_000);
/** What a node's record held from the first version on; what came later has a default. */
const firstFields = [
  ...(['ekDigest', 'name', 'bound', 'ekPublicArea', 'ekCertificate'] as const),
  ...(['akPublicArea', 'akName', 'manufacturer', 'enrolledAt'] as const),
];

describe('a store that an earlier version wrote', () => {
  let parent: string;
  let path: string;
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'assay-migrations-'));
    path = join(parent, 'state', 'assay.db');
    mkdirSync(join(parent, 'state'), { mode: 0o700 });
    writeFileSync(path, '', { mode: 0o600 });
  });
  afterEach(() => rmSync(parent, { recursive: true }));

  for (let version = 1; version < schemaVersion; version += 1)
    it(`of schema ${version} gives back what is in it, and becomes as a new one (row 78)`, async () => {
      writeAs(version);
      const told: unknown[] = [];
      const store = await openSqliteStore(path, {
        chain: chainEntry,
        onUnreadable: (row) => told.push(row),
      });
      const kept = await store.node('node-1');
      for (const field of firstFields) assert.deepEqual(kept?.[field], node[field], field);
      assert.equal((await store.status('node-1'))?.state, 'trusted');
      assert.deepEqual((await store.history('node-1', { limit: 10 }))[0]?.verdict, record.status.verdict);
      const [blob] = record.evidence;
      assert.deepEqual(await store.evidence(blob?.digest ?? ''), blob?.bytes);
      assert.deepEqual(await store.pinFor('node-1'), { node: 'node-1', ekDigest: node.ekDigest });
      assert.equal((await store.joinToken('id1'))?.node, 'node-2');
      await store.audit(madeEvent('start', 'server'));
      assert.equal(verifyChain(await store.auditEntries({ limit: 10 })).ok, true);
      await store.recordVerdict(madeRecord(node, 6_000));
      await store.enrol(madeNode('node-2'), madeEvent('enrol', 'node-2'), 'id1');
      await store.close();
      assert.deepEqual(told, []);
      assert.deepEqual(schemaOf(path), schemaOf(':memory:'));
    });

  it('of this schema is left as it is', () => {
    writeAs(schemaVersion);
    const before = schemaOf(path);
    const database = new DatabaseSync(path);
    migrate(database);
    database.close();
    assert.deepEqual(schemaOf(path), before);
  });

  it('that fails on its way stays in its version', () => {
    writeAs(1);
    const database = new DatabaseSync(path);
    database.exec('create table checkpoints (mine text)');
    assert.throws(() => migrate(database));
    const version = Number(database.prepare('pragma user_version').get()?.user_version);
    assert(version >= 1 && version < schemaVersion);
    assert.equal(database.prepare("select 1 from sqlite_master where name = 'audit_keys'").get(), undefined);
    database.close();
  });

  /** The rows that every version has had, as plain SQL: the program that wrote them is gone. */
  function writeAs(version: number): void {
    const database = new DatabaseSync(path);
    migrate(database, version);
    const insert = (table: string, row: Record<string, string | number | Buffer | null>) => {
      const names = Object.keys(row);
      const places = names.map(() => '?').join(', ');
      database
        .prepare(`insert into ${table} (${names.join(', ')}) values (${places})`)
        .run(...Object.values(row));
    };
    const { ekDigest } = node;
    const verdict = JSON.stringify(record.status.verdict);
    insert('nodes', {
      ...{ ek_digest: ekDigest, name: 'node-1', bound: node.bound, ek_public_area: node.ekPublicArea },
      ...{ ak_public_area: node.akPublicArea, ak_name: node.akName, manufacturer: node.manufacturer },
      enrolled_at: node.enrolledAt,
    });
    insert('statuses', { ek_digest: ekDigest, state: 'trusted', verdict, verified_at: 5_000 });
    insert('history', { ek_digest: ekDigest, node: 'node-1', at: 5_000, verdict, transition: 1 });
    const [blob] = record.evidence;
    insert('evidence', { digest: blob?.digest ?? '', stored_at: 5_000, bytes: blob?.bytes ?? null });
    insert('pins', { node: 'node-1', ek_digest: ekDigest });
    insert('join_tokens', { id: 'id1', secret_hash: '00', node: 'node-2', expires_at: 9_000 });
    const { detail, ...entry } = chainEntry(genesis, 1, madeEvent('enrol', 'node-1'));
    insert('audit', { ...entry, detail: JSON.stringify(detail) });
    database.close();
  }
});

/** What SQLite says of every table, index and trigger. */
function schemaOf(path: string): readonly unknown[] {
  const database = new DatabaseSync(path);
  if (path === ':memory:') migrate(database);
  const found = database.prepare('select type, name, sql from sqlite_master order by name').all();
  database.close();
  return found;
}
