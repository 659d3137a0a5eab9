import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { chainEntry, verifyChain } from '../../../attest-server/audit/chain.ts';
import { namedDigests, namingBlobs } from '../../../attest-server/evidence/named-digests.ts';
import { unpackEvidence } from '../../../attest-server/evidence/unpack.ts';
import { genesis } from '../../../attest-server/protocol/audit.ts';
import { migrate, schemaVersion } from '../../../attest-server/store/sqlite/migrations.ts';
import { storedKeyDigest } from '../../../attest-server/verify/endorsement.ts';
import { madeEvent, madeNode, madeRecord, madeRepeat } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

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

  it('of schema 10, with all that a server wrote, shows what it showed, and goes on', async () => {
    const database = new DatabaseSync(path);
    database.exec(readFileSync(join(import.meta.dirname, 'schema-10.sql'), 'utf8'));
    database.close();
    const told: unknown[] = [];
    const store = await openMadeStore(path, {
      onUnreadable: (row) => told.push(row),
    });
    const statuses = await store.verdicts.statuses();
    assert.deepEqual(
      statuses.map(({ since, trustedBy, ...before }) => before),
      statusesOfSchema10(),
    );
    for (const { name, state, verdict, trustedBy } of statuses) {
      assert.equal(trustedBy?.named ?? null, state === 'trusted' ? verdict?.policy : null, name);
      for (const digest of trustedBy === null ? [] : [trustedBy.policy, trustedBy.references])
        assert.notEqual(await store.evidence.read(digest, name), null, name);
    }
    for (const { name, since } of statuses) {
      const history = await store.verdicts.history(name, { limit: 100 });
      assert.equal(since, history.find(({ transition }) => transition)?.at, name);
    }
    for (const { name, ekDigest, evidenceDigest } of statuses) {
      assert.equal((await store.enrolment.node(name))?.banks, null);
      const read = (digest: string) => store.evidence.read(digest, name);
      assert.equal((await unpackEvidence(evidenceDigest ?? '', read))?.context?.node, name);
      const [row] = await store.verdicts.history(name, { limit: 1 });
      assert.deepEqual([row?.repeats, row?.since], [0, row?.at]);
      const node = { ...madeNode(name), ekDigest };
      await store.verdicts.recordRepeat(madeRepeat(node, 1_900_000_000_000));
      await store.verdicts.recordChange(madeRecord(node, 1_900_000_001_000));
    }
    assert.deepEqual([(await store.references.list()).length, (await store.tokens.list()).length], [1, 1]);
    const { ekDigest: gone } = await revoked(path);
    assert.equal(await store.enrolment.wasRevoked({ ekDigest: gone, keyDigest: '', akName: '' }), true);
    const usedBefore = 1_900_000_000_000;
    const request = { usedBefore, keptBefore: usedBefore, signal: new AbortController().signal };
    const event = () => madeEvent('evidence_erased', 'shared');
    const named = (bytes: Buffer) => namedDigests(bytes) ?? nothing;
    const unused = { ...request, event, named, lists: namingBlobs };
    assert.equal(await store.evidence.eraseUnused(unused), 0);
    assert.equal(verifyChain(await store.audit.entries({ limit: 100 })).ok, true);
    await store[Symbol.asyncDispose]();
    assert.deepEqual(told, []);
    assert.deepEqual(schemaOf(path), schemaOf(':memory:'));
  });

  it('gives references the latest step of their life, as far as the audit log can be read', async () => {
    const database = new DatabaseSync(path);
    migrate(database, storedKeyDigest, 12);
    const reference = (name: string, state: string) =>
      JSON.stringify({ version: 1, name, group: 'workers', state, expires: null, pcrs: {} });
    const insert = database.prepare('insert into reference_values (name, body) values (?, ?)');
    insert.run('workers-1', reference('workers-1', 'revoked'));
    insert.run('workers-2', reference('workers-2', 'revoked'));
    insert.run('workers-3', '{"damaged');
    const entry = database.prepare("insert into audit values (?, ?, ?, ?, ?, null, ?, '', '')");
    const at = Date.parse('2026-11-20T12:00:00.123Z');
    const step = (from: string, to: string, reason: string) => JSON.stringify({ from, to, reason });
    const rows = [
      ['token:ann', 'reference.approve', 'workers-1', step('staged', 'active', 'reviewed')],
      ['token:bob', 'reference.revoke', 'workers-1', step('active', 'revoked', 'bad "kernel"\n')],
      ['token:bob', 'reference.revoke', 'workers-2', '{"damaged'],
      ['token:bob', 'reference.revoke', 'workers-3', step('active', 'revoked', 'bad')],
    ] as const;
    for (const [index, row] of rows.entries()) entry.run(index + 1, at, ...row);
    database.close();
    const told: string[] = [];
    const store = await openMadeStore(path, {
      onUnreadable: ({ key }) => told.push(key),
    });
    const changed = (await store.references.list()).map((one) => [one.name, one.changed]);
    await store[Symbol.asyncDispose]();
    const reason = 'bad "kernel"\n';
    const when = '2026-11-20T12:00:00.123Z';
    assert.deepEqual(changed, [
      ['workers-1', { action: 'revoke', by: 'token:bob', at: when, from: 'active', reason }],
      ['workers-2', undefined],
    ]);
    assert.deepEqual(told, ['workers-3']);
  });

  it('of schema 12 says who vouched for a node as far as its audit log does', async () => {
    writeAs(12);
    const database = new DatabaseSync(path);
    const insert = inserter(database);
    const byMethod = {
      approval: 'token:bob',
      'join-token': 'token:carol',
      'first-use': 'node',
      cloud: 'cloud',
    };
    for (const [index, bound] of Object.keys(byMethod).entries())
      insert('nodes', {
        ek_digest: bound,
        name: bound,
        bound,
        ek_public_area: Buffer.alloc(0),
        ak_public_area: Buffer.alloc(0),
        ak_name: bound,
        key_digest: bound,
        enrolled_at: 2_000 + index,
      });
    insert('join_tokens', {
      id: 'used',
      secret_hash: '00',
      node: 'join-token',
      expires_at: 9_000,
      used_at: 2_001,
    });
    const entries = [
      ['token:eve', 'enrol.approve', 'approval', null, { ek: 'another' }],
      ['token:alice', 'enrol.approve', 'approval', null, { ek: 'approval' }],
      ['token:bob', 'enrol.approve', 'approval', null, { ek: 'approval' }],
      // What was held against a TPM was lifted: that vouched for no enrolment.
      ['token:eve', 'enrol.approve', 'approval', 'counter_rollback', { ek: 'approval' }],
      ['token:carol', 'join-token.create', 'join-token', null, { id: 'used' }],
      ['token:eve', 'join-token.create', 'join-token', null, { id: 'other' }],
      ['token:eve', 'enrol.approve', 'first-use', null, 'cut off {'],
    ] as const;
    for (const [index, [actor, action, subject, code, detail]] of entries.entries()) {
      const text = typeof detail === 'string' ? detail : JSON.stringify(detail);
      insert('audit', {
        seq: index + 2,
        at: 1,
        actor,
        action,
        subject,
        code,
        detail: text,
        prev: '',
        hash: '',
      });
    }
    database.close();
    await using store = await openMadeStore(path);
    for (const [name, by] of Object.entries(byMethod))
      assert.equal((await store.enrolment.node(name))?.enrolledBy, by, name);
    assert.equal((await store.enrolment.node('node-1'))?.enrolledBy, null);
    assert.equal((await store.verdicts.status('node-1'))?.since, 5_000);
  });

  it('of schema 12 says nothing of a node that an earlier enrolment of its name or its TPM was', async () => {
    writeAs(12);
    const database = new DatabaseSync(path);
    const insert = inserter(database);
    const verdict = JSON.stringify(record.status.verdict);
    const keys = { ek_public_area: Buffer.alloc(0), ak_public_area: Buffer.alloc(0), bound: 'approval' };
    // The board of `exchanged` was, and `again` was revoked and approved again: neither was judged since.
    for (const [ek, name, revokedAt] of [
      ['old board', 'exchanged', 3_000],
      ['new board', 'exchanged', null],
      ['same', 'again', null],
    ] as const) {
      const about = { ek_digest: ek, name, ak_name: ek, key_digest: ek, enrolled_at: 4_000 };
      insert('nodes', { ...keys, ...about, revoked_at: revokedAt });
      if (revokedAt === null) insert('statuses', { ek_digest: ek, state: 'pending' });
    }
    for (const [ek, name] of [
      ['old board', 'exchanged'],
      ['same', 'again'],
    ] as const)
      insert('history', {
        ...{ ek_digest: ek, node: name, at: 2_000, verdict, transition: 1 },
        evidence_digest: 'ab'.repeat(32),
      });
    database.close();
    await using store = await openMadeStore(path);
    for (const name of ['exchanged', 'again']) {
      const status = await store.verdicts.status(name);
      assert.deepEqual(
        [status?.recordedEvidence, status?.trustedAt, status?.since],
        [null, null, null],
        name,
      );
    }
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
    migrate(database, storedKeyDigest, version);
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

const nothing = { at: 0, digests: [] };

async function revoked(path: string): Promise<{ readonly ekDigest: string }> {
  const database = new DatabaseSync(path);
  const row = database.prepare('select ek_digest from nodes where revoked_at is not null').get();
  database.close();
  return { ekDigest: String(row?.ek_digest) };
}

/** Of its nodes that are not trusted: its history has a row of each that was, of that moment. */
const trustedBefore: Readonly<Record<string, number>> = { 'node-2': 1_795_702_376_930 };

/** What that program said of its nodes, in the words of this one. */
function statusesOfSchema10(): readonly unknown[] {
  const text = readFileSync(join(import.meta.dirname, 'schema-10.statuses.json'), 'utf8');
  const before: Record<string, unknown>[] = JSON.parse(text);
  return before.map(({ bootLogDigest, clock, bootedAt: bootSeenAt, ...rest }) => ({
    ...rest,
    bootSeenAt,
    bootedAfter: null,
    bootedAt: null,
    clock: BigInt(String(clock).replace('n', '')),
    parts: bootLogDigest === null ? {} : { boot: bootLogDigest },
    memory: {},
    trustedAt: trustedBefore[String(rest.name)] ?? null,
    recordedAt: rest.verifiedAt,
    recordedEvidence: rest.evidenceDigest,
    repeats: 0,
  }));
}

/** What SQLite says of every table, index and trigger. */
function schemaOf(path: string): readonly unknown[] {
  const database = new DatabaseSync(path);
  if (path === ':memory:') migrate(database);
  const found = database.prepare('select type, name, sql from sqlite_master order by name').all();
  database.close();
  return found;
}
