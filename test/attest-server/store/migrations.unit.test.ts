import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { chainEntry, verifyChain } from '../../../attest-server/audit/chain.ts';
import { genesis } from '../../../attest-server/formats/audit.ts';
import { migrate, schemaVersion } from '../../../attest-server/store/sqlite/migrations.ts';
import { readKeptStates } from '../../databases/recording.ts';
import { madeEvent, madeNode, madeRecord } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

const node = madeNode('node-1');
const record = madeRecord(node, 5_000);
/** What a node's record held from the first version on; what came later has a default. */
const firstFields = [
  ...(['ekDigest', 'name', 'bound', 'ekPublicArea', 'ekCertificate'] as const),
  ...(['akPublicArea', 'akName', 'manufacturer', 'enrolledAt'] as const),
];

/** Of 0.3.0. */
const firstSchema = 17;

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

  for (let version = firstSchema; version < schemaVersion; version += 1)
    it(`of schema ${version} gives back what is in it, and becomes as a new one (row 78)`, async () => {
      writeAs(version);
      const told: unknown[] = [];
      const store = await openMadeStore(path, {
        onUnreadable: (row) => told.push(row),
      });
      const kept = await store.enrolment.node('node-1');
      for (const field of firstFields) assert.deepEqual(kept?.[field], node[field], field);
      assert.equal((await store.verdicts.status('node-1'))?.state, 'trusted');
      assert.deepEqual(
        (await store.verdicts.history('node-1', { limit: 10 }))[0]?.verdict,
        record.status.verdict,
      );
      const [blob] = record.evidence;
      assert.deepEqual(await store.evidence.read(blob?.digest ?? ''), blob?.bytes);
      assert.deepEqual(await store.enrolment.pinFor('node-1'), {
        node: 'node-1',
        ekDigest: node.ekDigest,
        by: null,
      });
      assert.equal((await store.enrolment.joinToken('id1'))?.node, 'node-2');
      await store.audit.append(madeEvent('policy.load', 'server'));
      assert.equal(verifyChain(await store.audit.entries({ limit: 10 })).ok, true);
      await store.verdicts.recordChange(madeRecord(node, 6_000));
      await store.enrolment.enrol(madeNode('node-2'), madeEvent('enrol', 'node-2'), 'id1');
      await store[Symbol.asyncDispose]();
      assert.deepEqual(told, []);
      assert.deepEqual(schemaOf(path), schemaOf(':memory:'));
    });

  it('makes of nothing, to the letter, what 0.3.0 made', () => {
    const database = new DatabaseSync(':memory:');
    migrate(database, firstSchema);
    const made = textsIn(database);
    database.close();
    for (const { restore } of readKeptStates()) {
      const stateDir = join(parent, 'recorded');
      restore(stateDir);
      const recorded = new DatabaseSync(join(stateDir, 'assay.db'));
      assert.deepEqual(made, textsIn(recorded));
      recorded.close();
      rmSync(stateDir, { recursive: true });
    }
  });

  for (const log of ['is empty', 'has its latest writes']) {
    it(`of a version before 0.3.0 is refused, names the step between, and stays as it is (its log ${log})`, async () => {
      for (let version = 1; version < firstSchema; version += 1) {
        const database = new DatabaseSync(path);
        database.exec(`pragma journal_mode = wal; create table if not exists nodes (name text) strict;
          pragma user_version = ${version}`);
        const parts = ['assay.db', 'assay.db-wal'].map((name) => join(parent, 'state', name));
        // A copy beside an open connection is what a program leaves that is killed.
        const left = parts.map((part) => readFileSync(part));
        database.close();
        if (log !== 'is empty')
          for (const [index, part] of parts.entries())
            writeFileSync(part, left[index] ?? '', { mode: 0o600 });
        const before = readFileSync(path);
        await assert.rejects(
          openMadeStore(path),
          /before 0\.3\.0 .*run 0\.3\.0 on it once, then this version/,
        );
        assert.deepEqual(readFileSync(path), before);
        if (log !== 'is empty') assert.deepEqual(readFileSync(`${path}-wal`), left[1]);
        for (const part of [...parts, `${path}-shm`]) rmSync(part, { force: true });
        writeFileSync(path, '', { mode: 0o600 });
      }
    });
  }

  it('is taken where a program was killed whose transaction is to be rolled back', async () => {
    writeAs(firstSchema);
    const database = new DatabaseSync(path);
    // So little memory that the file has some of it before its end.
    database.exec(`pragma cache_size = 1; begin; create table cut (text text);
      with recursive counted (n) as (select 1 union all select n + 1 from counted where n < 2000)
      insert into cut select printf('%900d', n) from counted`);
    const parts = [path, `${path}-journal`].map((part) => ({ part, left: readFileSync(part) }));
    database.exec('rollback');
    database.close();
    for (const { part, left } of parts) writeFileSync(part, left, { mode: 0o600 });
    const store = await openMadeStore(path);
    assert.equal((await store.enrolment.node('node-1'))?.ekDigest, node.ekDigest);
    await store[Symbol.asyncDispose]();
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
    writeAs(firstSchema);
    const database = new DatabaseSync(path);
    database.exec('create table held (mine text)');
    assert.throws(() => migrate(database));
    const version = Number(database.prepare('pragma user_version').get()?.user_version);
    assert(version >= firstSchema && version < schemaVersion);
    assert.equal(database.prepare("select 1 from sqlite_master where name = 'held_blobs'").get(), undefined);
    database.close();
  });

  /** The rows that every version has had, as plain SQL: the program that wrote them is gone. */
  function writeAs(version: number): void {
    const database = new DatabaseSync(path);
    migrate(database, version);
    const insert = inserter(database);
    const { ekDigest } = node;
    const verdict = JSON.stringify(record.status.verdict);
    insert('nodes', {
      ek_digest: ekDigest,
      name: 'node-1',
      bound: node.bound,
      ek_public_area: node.ekPublicArea,
      ak_public_area: node.akPublicArea,
      ak_name: node.akName,
      manufacturer: node.manufacturer,
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

function inserter(database: DatabaseSync) {
  return (table: string, row: Record<string, string | number | Buffer | null>) => {
    const names = Object.keys(row);
    const places = names.map(() => '?').join(', ');
    database
      .prepare(`insert into ${table} (${names.join(', ')}) values (${places})`)
      .run(...Object.values(row));
  };
}

/** What SQLite says of every table, index and trigger. */
function schemaOf(path: string): readonly unknown[] {
  const database = new DatabaseSync(path);
  if (path === ':memory:') migrate(database);
  const found = database.prepare('select type, name, sql from sqlite_master order by name').all();
  database.close();
  return found;
}

/** The text of each, in the order in which they were made. */
function textsIn(database: DatabaseSync): readonly unknown[] {
  return database.prepare('select type, name, tbl_name, sql from sqlite_master order by rowid').all();
}
