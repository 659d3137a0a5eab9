import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, beforeEach, describe, it } from 'mocha';
import type { AuditLine } from '../../../../../attest-server/api/audit-pages.ts';
import { AuditLog } from '../../../../../attest-server/audit/audit-log.ts';
import { chainEntry } from '../../../../../attest-server/audit/chain.ts';
import { readAuditLog } from '../../../../../attest-server/cli/offline/audit/log-in-file.ts';
import type { AuditLogResult } from '../../../../../attest-server/cli/offline/audit/verify-log.ts';
import { openCustody } from '../../../../../attest-server/custody/open.ts';
import { genesis } from '../../../../../attest-server/formats/audit.ts';
import { formatCheckpoint } from '../../../../../attest-server/wire/checkpoint.ts';
import { madeAuditKey, madeOrigin } from '../../../formats/made-audit-key.ts';
import { madeEvent } from '../../../store/made-records.ts';
import { openMadeStore } from '../../../store/made-store.ts';
import { runAssay } from '../../cli-fixture.ts';

/** Entries 1 and 2 are those of the keys; 10 are signed in two steps, 11 and 12 are not. */
const [signedFirst, signed, all] = [6, 10, 12];

describe('assay audit verify on a copied store', () => {
  let dir: string;
  let copy: string;
  /** What an agent kept, and the plain note of it. */
  let kept: string;
  let note: string;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'assay-verify-'));
    const path = join(dir, 'state', 'assay.db');
    const store = await openMadeStore(path);
    const log = await AuditLog.open({
      store: store.audit,
      stateDir: join(dir, 'state'),
      keys: openCustody(join(dir, 'state'), join(dir, 'state')).audit,
      now: () => 1_000,
      signed: () => {},
      rolledBack: (text) => assert.fail(text),
    });
    await log.rotate('token:admin');
    for (let seq = 3; seq <= all; seq++) {
      await store.audit.append(madeEvent('enrol', `node-${seq}`));
      if (seq === signedFirst || seq === signed) await log.sign();
    }
    const { checkpoint, auditKeys } = log.shown ?? assert.fail();
    [kept, note] = [join(dir, 'audit-checkpoint.json'), join(dir, 'note')];
    writeFileSync(kept, JSON.stringify({ publicKey: auditKeys[0]?.publicKey, checkpoint }));
    writeFileSync(note, checkpoint);
    await store.backup(join(dir, 'state', 'whole.db'));
    await store[Symbol.asyncDispose]();
    copy = join(dir, 'copy.db');
  });
  beforeEach(() => {
    for (const end of ['', '-wal', '-shm']) rmSync(`${copy}${end}`, { force: true });
    cpSync(join(dir, 'state', 'whole.db'), copy);
  });
  after(() => rmSync(dir, { recursive: true }));

  it('finds the whole one in order, and says that nobody outside witnessed it', async () => {
    const { code, result } = await verify();
    assert.equal(code, 0);
    const { size, signed: covered, witnessed, fault } = result;
    assert.deepEqual(
      { size, covered, witnessed, fault },
      { size: all, covered: signed, witnessed: false, fault: null },
    );
    assert.match((await runAssay(['audit', 'verify', copy])).out, /unwitnessed/);
  });

  it('reads one moment of a database that a server writes', async () => {
    const writer = await openMadeStore(join(dir, 'state', 'assay.db'));
    const lines = readAuditLog(join(dir, 'state', 'assay.db'))[Symbol.iterator]();
    for (let line = 0; line < 2; line += 1) lines.next();
    await writer.audit.append(madeEvent('enrol', 'node-99'));
    await writer.audit.addCheckpoint(({ size, head }) =>
      formatCheckpoint({ origin: madeOrigin, size, head }, madeAuditKey()),
    );
    const rest = { [Symbol.iterator]: () => lines };
    let checkpoints = 0;
    for (const line of rest) if ('checkpoint' in line) checkpoints += 1;
    assert.equal(checkpoints, 4);
    await writer[Symbol.asyncDispose]();
  });

  it('takes what an agent kept, or a plain note, as a witness', async () => {
    for (const file of [kept, note]) {
      const { code, result } = await verify('--checkpoint', file);
      assert.deepEqual([code, result.witnessed], [0, true]);
    }
  });

  for (const [what, first, tamper] of [
    ['an entry that was changed', 5, "update audit set subject = 'node-99' where seq = 5"],
    ['an entry whose detail is no longer readable', 5, "update audit set detail = '{' where seq = 5"],
    ['an entry that was removed in the middle', 5, 'delete from audit where seq = 5'],
    ['a tail that was cut', 9, 'delete from audit where seq > 8'],
    [
      'entries in another order',
      5,
      'update audit set seq = -5 where seq = 5; update audit set seq = 5 where seq = 6; update audit set seq = 6 where seq = -5',
    ],
    ['a log that is empty', 1, 'delete from audit'],
    ['checkpoints that were taken away', 1, 'delete from checkpoints'],
    ['keys that were taken away', 1, 'delete from audit_keys'],
  ] as const)
    it(`finds ${what}, and names entry ${first}`, async () => {
      change((database) => database.exec(tamper));
      await assertFault(first);
    });

  it('finds a rewrite with hashes that fit each other, between two checkpoints', async () => {
    change((database) => rewrite(database, 8));
    await assertFault(signedFirst + 1);
  });

  it('finds a rewrite of all of it', async () => {
    change((database) => rewrite(database, 1));
    await assertFault(1);
  });

  it('finds a checkpoint that another key signed', async () => {
    change((database) => {
      const head = String(database.prepare('select hash from audit where seq = 10').get()?.hash);
      const forged = formatCheckpoint({ origin: madeOrigin, size: 10, head }, madeAuditKey());
      database.prepare('update checkpoints set note = ? where id = 3').run(forged);
    });
    await assertFault(null);
  });

  it('finds a key that the one before it did not sign', async () => {
    change((database) =>
      database
        .prepare('update audit_keys set public_key = ? where position = 2')
        .run(madeAuditKey().publicKey.toString('base64')),
    );
    await assertFault(null);
  });

  it('finds by a witness alone what was rewritten together with every signature', async () => {
    const key = madeAuditKey();
    change((database) => {
      rewrite(database, 1);
      const origin = String(database.prepare('select origin from audit_keys').get()?.origin);
      const head = String(database.prepare('select hash from audit where seq = ?').get(all)?.hash);
      database.exec('delete from checkpoints; delete from audit_keys');
      const forged = formatCheckpoint({ origin, size: all, head }, key);
      database.prepare('insert into checkpoints values (1, ?, ?)').run(all, forged);
      const own = key.publicKey.toString('base64');
      database.prepare('insert into audit_keys values (1, ?, ?, null)').run(origin, own);
    });
    assert.deepEqual((await verify()).code, 0);
    for (const file of [kept, note]) assert.equal((await verify('--checkpoint', file)).code, 10);
  });

  it('finds by a witness that everything after an older state is gone', async () => {
    change((database) =>
      database.exec('delete from audit where seq > 6; delete from checkpoints where id > 2'),
    );
    assert.equal((await verify()).code, 0);
    const { code, result } = await verify('--checkpoint', kept);
    assert.deepEqual([code, result.fault?.seq], [10, 7]);
  });

  it('reads an export of an earlier program, with the checkpoints behind the entries', async () => {
    const [file, lines] = [join(dir, 'export'), [...readAuditLog(copy)]];
    const isEntry = (line: AuditLine) => 'entry' in line;
    const isNote = (line: AuditLine) => 'checkpoint' in line;
    const write = (written: readonly AuditLine[]) =>
      writeFileSync(file, written.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const keys = lines.filter((line) => !isEntry(line) && !isNote(line));
    const earlier = [...lines.filter(isEntry), ...keys, ...lines.filter(isNote)];
    for (const order of [lines, earlier]) {
      write(order);
      assert.deepEqual([...readAuditLog(file)], lines);
      const { code, out } = await runAssay(['audit', 'verify', file, '-o', 'json', '--checkpoint', kept]);
      const { size, signed: covered, witnessed } = JSON.parse(out) as AuditLogResult;
      assert.deepEqual([code, size, covered, witnessed], [0, all, signed, true]);
    }
    for (const [left, seq] of [
      [earlier.filter((line) => !('entry' in line) || line.entry.seq !== 5), 5],
      [earlier.filter((line) => !('entry' in line) || line.entry.seq < 9), 9],
    ] as const) {
      write(left);
      const { code, out } = await runAssay(['audit', 'verify', file, '-o', 'json']);
      assert.deepEqual([code, (JSON.parse(out) as AuditLogResult).fault?.seq], [10, seq]);
    }
  });

  it('names the line of an export that is none', async () => {
    const file = join(dir, 'export');
    for (const text of ['{"entry":{}}\n', 'no JSON\n', '{"checkpoint":"', `${'x'.repeat(2 ** 20 + 1)}\n`]) {
      writeFileSync(file, text);
      const { code, out } = await runAssay(['audit', 'verify', file, '-o', 'json']);
      const { fault } = JSON.parse(out) as AuditLogResult;
      assert.deepEqual([code, fault?.seq], [10, 1]);
    }
  });

  it('ends with an error for a file that is not there, or no witness', async () => {
    assert.equal((await runAssay(['audit', 'verify', join(dir, 'nothing')])).code, 1);
    writeFileSync(join(dir, 'empty.json'), '{}');
    const told = await runAssay(['audit', 'verify', copy, '--checkpoint', join(dir, 'empty.json')]);
    assert.equal(told.code, 1);
    assert.equal(readFileSync(kept, 'utf8').startsWith('{'), true);
  });

  async function verify(...options: readonly string[]): Promise<{ code: number; result: AuditLogResult }> {
    const { code, out, err } = await runAssay(['audit', 'verify', copy, '-o', 'json', ...options]);
    assert.equal(err, '');
    return { code, result: JSON.parse(out) as AuditLogResult };
  }

  async function assertFault(seq: number | null): Promise<void> {
    const { code, result } = await verify();
    assert.deepEqual(
      [code, result.ok, result.fault?.seq],
      [10, false, seq],
      result.fault?.text ?? 'no fault',
    );
  }

  function change(tamper: (database: DatabaseSync) => void): void {
    const database = new DatabaseSync(copy);
    database.exec('drop trigger audit_is_never_edited; drop trigger audit_is_never_shortened');
    tamper(database);
    database.close();
  }
});

/** Writes every entry from `seq` on anew, with another subject and the hashes that fit. */
function rewrite(database: DatabaseSync, from: number): void {
  const update = database.prepare('update audit set subject = ?, prev = ?, hash = ? where seq = ?');
  let prev = genesis;
  for (const row of database.prepare('select * from audit order by seq').all()) {
    const seq = Number(row.seq);
    const subject = seq === from ? 'somebody else' : String(row.subject);
    const entry = chainEntry(prev, seq, {
      at: Number(row.at),
      actor: String(row.actor),
      action: String(row.action),
      subject,
      code: row.code === null ? null : String(row.code),
      detail: JSON.parse(String(row.detail)),
    });
    update.run(subject, prev, entry.hash, seq);
    prev = entry.hash;
  }
}
