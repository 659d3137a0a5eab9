import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { gunzipSync } from 'node:zlib';
import { after, before, beforeEach, describe, it } from 'mocha';
import { z } from 'zod';
import { checkStore, storeText } from '../../../attest-server/commands/check-store.ts';
import type { DamageKind } from '../../../attest-server/formats/database-damage.ts';
import { migrate } from '../../../attest-server/store/sqlite/migrations.ts';
import { programs } from '../../programs.ts';
import { endOf } from '../../swtpm-fixtures/end-of.ts';
import { trials } from '../../trials.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { openMadeStore } from '../store/made-store.ts';

const recorded = join(import.meta.dirname, '../../../swtpm-fixtures/databases/0.3.0/assay.db.gz');
const program = programs['assay-server'];
const answer = z.object({ whole: z.boolean(), damage: z.array(z.object({ kind: z.string() })) });

describe('assay-server check --store', function () {
  this.timeout(60_000);
  let dir: string;
  let state: string;
  let database: string;
  let good: Buffer;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-check-store-'));
    const made = join(dir, 'good.db');
    writeFileSync(made, gunzipSync(readFileSync(recorded)), { mode: 0o600 });
    // The state of a real server, as this version has it.
    using connection = new DatabaseSync(made);
    migrate(connection);
    connection.exec('pragma wal_checkpoint(truncate)');
    good = readFileSync(made);
  });
  beforeEach(() => {
    state = mkdtempSync(join(dir, 'state-'));
    database = join(state, 'assay.db');
    mkdirSync(join(state, 'backups'), { mode: 0o700 });
    writeFileSync(database, good, { mode: 0o600 });
  });
  after(() => rmSync(dir, { recursive: true }));
  const check = (path = database) => checkStore(path, [join(state, 'backups')], () => {});
  const change = (sql: string) => {
    using connection = new DatabaseSync(database);
    const triggers = connection
      .prepare("select name, sql from sqlite_schema where type = 'trigger' and tbl_name = 'audit'")
      .all();
    for (const { name } of triggers) connection.exec(`drop trigger ${name}`);
    connection.exec(sql);
    for (const { sql: trigger } of triggers) connection.exec(String(trigger));
  };
  const overwrite = (bytes: Uint8Array, at: number, path = database) => {
    const file = openSync(path, 'r+');
    writeSync(file, bytes, 0, bytes.length, at);
    closeSync(file);
  };
  const rootOf = (table: string) => {
    using connection = new DatabaseSync(database, { readOnly: true });
    const found = connection.prepare('select rootpage from sqlite_schema where name = ?').get(table);
    return (Number(found?.rootpage) - 1) * 4096;
  };

  it('finds a database of a server whole, and writes nothing, not even beside it', async () => {
    const before = readdirSync(state);
    chmodSync(state, 0o500);
    const { whole, damage, rows, audit } = await check();
    chmodSync(state, 0o700);
    assert.deepEqual([whole, damage, audit?.size], [true, [], 87]);
    assert.ok((rows ?? 0) > 300);
    assert.deepEqual(readdirSync(state), before);
    assert.deepEqual(readFileSync(database), good);
  });

  it('reads one moment of a database that a server writes, with what its log alone holds', async () => {
    await using store = await openMadeStore(database);
    await store.audit.append({
      at: 1,
      actor: 'token:a',
      action: 'backup',
      subject: 'x',
      code: null,
      detail: {},
    });
    assert.ok(statSync(`${database}-wal`).size > 0);
    const { whole, audit } = await check();
    assert.deepEqual([whole, audit?.size], [true, 88]);
  });

  const kinds: readonly (readonly [string, DamageKind, string | null, () => void])[] = [
    ['another file', 'no_database', null, () => writeFileSync(database, randomBytes(9000))],
    ['a header that is overwritten', 'no_database', null, () => overwrite(Buffer.alloc(100), 0)],
    [
      'a header of which a field is overwritten',
      'no_database',
      null,
      () => overwrite(Buffer.alloc(8, 255), 16),
    ],
    ['an empty file', 'cut_short', null, () => truncateSync(database, 0)],
    ['a file that is cut in the middle of a page', 'cut_short', null, () => truncateSync(database, 100_001)],
    ['bytes behind the end', 'too_long', null, () => overwrite(randomBytes(5000), good.length)],
    ['a page of a table', 'pages', 'history', () => overwrite(randomBytes(4096), rootOf('history'))],
    ['a page of an index', 'pages', 'history', () => overwrite(randomBytes(4096), rootOf('history_by_node'))],
    ['the schema', 'pages', null, () => overwrite(randomBytes(200), 100)],
    [
      'a row without its parent',
      'pages',
      'statuses',
      () => change('pragma foreign_keys = off; delete from nodes where name = (select max(name) from nodes)'),
    ],
    [
      'evidence under a wrong digest',
      'rows',
      'evidence',
      () => change("update evidence set bytes = x'00' where rowid = 1"),
    ],
    ['an answer under a wrong digest', 'rows', 'answers', () => change("update answers set bytes = x'00'")],
    [
      'a key that is not the one of its digest',
      'rows',
      'nodes',
      () => change("update nodes set ek_public_area = x'00'"),
    ],
    [
      'a verdict that is none',
      'rows',
      'history',
      () => change("update history set verdict = '{}' where id = 1"),
    ],
    ['bytes that are no text', 'rows', 'pins', () => change("update pins set by = cast(x'ff41' as text)")],
    [
      'a column that is gone',
      'rows',
      'sqlite_schema',
      () => change('alter table api_tokens rename role to rule'),
    ],
    [
      'an entry of the audit log',
      'audit_log',
      'audit',
      () => change("update audit set actor = 'x' where seq = 40"),
    ],
    ['the end of the audit log', 'audit_log', 'audit', () => change('delete from audit where seq > 40')],
    ['a database of another program', 'foreign', null, () => change('pragma user_version = 0')],
    ['a database of a later version', 'newer', null, () => change('pragma user_version = 9999')],
  ];
  for (const [what, kind, table, damage] of kinds)
    it(`finds ${what}: ${kind}`, async () => {
      damage();
      const report = await check();
      assert.equal(report.whole, false);
      const found = report.damage.find((each) => each.kind === kind && each.table === table);
      assert.ok(found !== undefined, JSON.stringify(report.damage));
      assert.ok(
        storeText(report).startsWith(`${kind === 'audit_log' ? 'the audit log in ' : ''}${database} `),
      );
    });

  it('misses nothing that has a digest, wherever bytes are overwritten, and names each fault (row 414)', async () => {
    const contentOf = (path: string) => {
      using connection = new DatabaseSync(`file:${path}?immutable=1`, { readOnly: true });
      const sum = createHash('sha256');
      for (const sql of [
        'select * from audit',
        'select * from audit_keys',
        'select digest, bytes from evidence',
        'select * from answers',
        'select evidence_digest, bytes from proofs',
        'select digest, text from policies',
        'select name, ek_digest, key_digest, ak_name, ek_public_area, ak_public_area from nodes',
      ])
        for (const row of connection.prepare(sql).iterate())
          for (const value of Object.values(row))
            sum.update(value instanceof Uint8Array ? value : `${value};`);
      return sum.digest('hex');
    };
    const before = contentOf(database);
    for (const size of [1, 16, 512, 4096])
      for (let trial = 0; trial < trials(10); trial += 1) {
        writeFileSync(database, good);
        const at = randomBytes(4).readUInt32BE() % (good.length - size);
        overwrite(randomBytes(size), at);
        const report = await check();
        assert.ok(storeText(report).length > 0);
        if (report.whole) assert.equal(contentOf(database), before, `${size} bytes at ${at}`);
        else assert.ok(report.damage.every(({ text }) => text.length > 0));
      }
  });

  it('has commands that put the latest copy in its place that is whole, and no other', async () => {
    const copies = ['20260101T000000.000Z', '20260301T000000.000Z', '20260401T000000.000Z'].map((time) =>
      join(state, 'backups', `assay-${time}.db`),
    );
    for (const copy of copies) copyFileSync(database, copy);
    truncateSync(copies[2] ?? '', 8192);
    writeFileSync(join(state, 'backups', 'assay-20260501T000000.000Z.db.part'), 'x');
    overwrite(randomBytes(4096), rootOf('nodes'));
    const { copy, restore } = await check();
    assert.equal(copy, copies[1]);
    assert.equal(restore.length, 3);
    for (const each of copies) rmSync(each);
    const without = await check();
    assert.deepEqual([without.copy, without.restore], [null, []]);
    assert.match(storeText(without), /no intact copy/);
  });

  it('ends with 0 for a whole one, with 1 for a damaged one and for what cannot be looked at', async () => {
    const run = (...words: readonly string[]) => endOf([program, 'check', '--store', ...words], {});
    const whole = await run(database, '-o', 'json');
    assert.deepEqual([whole.code, answer.parse(JSON.parse(whole.stdout)).whole], [0, true]);
    truncateSync(database, 100_000);
    const damaged = await run('--state-dir', state, '-o', 'json');
    assert.equal(damaged.code, 1);
    assert.deepEqual(
      answer.parse(JSON.parse(damaged.stdout)).damage.map(({ kind }) => kind),
      ['cut_short'],
    );
    for (const [words, said] of [
      [['--state-dir', join(dir, 'none')], `there is no ${join(dir, 'none/assay.db')}`],
      [[state], `${state} is no file`],
      [['/dev/zero'], '/dev/zero is no file'],
    ] as const) {
      const { code, stderr } = await run(...words);
      assert.deepEqual([code, stderr.includes(said)], [1, true], stderr);
      assert.doesNotMatch(stderr, /^\s+at |node:internal/m);
    }
  });

  it('is named by audit verify, which does not call a damaged file whole (row 415)', async () => {
    assert.equal((await runAssay(['audit', 'verify', database])).code, 0);
    overwrite(randomBytes(4096), rootOf('history'));
    const { code, out } = await runAssay(['audit', 'verify', database]);
    assert.equal(code, 10);
    assert.ok(out.includes(`assay-server check --store ${database}`), out);
    truncateSync(database, 100_001);
    assert.equal((await runAssay(['audit', 'verify', database])).code, 10);
  });
});
