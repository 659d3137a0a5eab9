import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { verifyChain } from '../../../attest-server/audit/chain.ts';
import type { UnreadableRow } from '../../../attest-server/store/unreadable-row.ts';
import { madeBlob, madeEvent, madeNode, madeRecord, madeRepeat } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

describe('the file of a store', () => {
  let parent: string;
  let folder: string;
  let path: string;
  let told: UnreadableRow[];

  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'assay-store-'));
    folder = join(parent, 'state');
    path = join(folder, 'assay.db');
    told = [];
  });
  afterEach(() => rmSync(parent, { recursive: true }));

  const open = () => openMadeStore(path, { onUnreadable: (row) => told.push(row) });
  const modeOf = (file: string) => statSync(file).mode & 0o777;

  /** Does to the closed file what a fault or a person with the file could do. */
  function damage(sql: string): void {
    const database = new DatabaseSync(path);
    database.exec(sql);
    database.close();
  }

  async function filled(): Promise<void> {
    const store = await open();
    for (const name of ['node-1', 'node-2', 'node-3']) {
      const node = madeNode(name);
      await store.enrolment.enrol(node, madeEvent('enrol', name));
      for (const at of [1_000, 2_000, 3_000]) await store.verdicts.recordChange(madeRecord(node, at));
    }
    await store[Symbol.asyncDispose]();
  }

  it('is for its owner only, and so are the files beside it (row 74)', async () => {
    const store = await open();
    await store.audit.append(madeEvent('policy.load', 'server'));
    assert.equal(modeOf(folder), 0o700);
    for (const file of [path, `${path}-wal`, `${path}-shm`]) assert.equal(modeOf(file), 0o600);
    await store[Symbol.asyncDispose]();
  });

  it('keeps what was written from one opening to the next', async () => {
    await filled();
    const store = await open();
    assert.equal((await store.verdicts.statuses()).length, 3);
    assert.equal((await store.verdicts.history('node-2', { limit: 10 })).length, 3);
    await store.audit.append(madeEvent('policy.load', 'server'));
    assert.equal(verifyChain(await store.audit.entries({ limit: 100 })).ok, true);
    await store[Symbol.asyncDispose]();
  });

  it('keeps one unbroken chain where two programs write in turn', async () => {
    const stores = [await open(), await open()];
    for (let turn = 0; turn < 4; turn += 1) {
      for (const store of stores) await store.audit.append(madeEvent('policy.load', `turn ${turn}`));
    }
    const check = verifyChain((await stores[0]?.audit.entries({ limit: 100 })) ?? []);
    assert.equal(check.ok && check.size, 8);
    for (const store of stores) await store[Symbol.asyncDispose]();
  });

  for (const [what, prepare] of [
    ['a folder that others may read', () => mkdirSync(folder, { mode: 0o755 })],
    [
      'a folder that is a symbolic link',
      () => {
        mkdirSync(join(parent, 'real'), { mode: 0o700 });
        symlinkSync(join(parent, 'real'), folder);
      },
    ],
    ['a folder that is a file', () => writeFileSync(folder, '')],
    [
      'a file that is a symbolic link',
      () => {
        mkdirSync(folder, { mode: 0o700 });
        symlinkSync(join(parent, 'elsewhere'), path);
      },
    ],
    [
      'a file that others may read',
      () => {
        mkdirSync(folder, { mode: 0o700 });
        writeFileSync(path, '');
        chmodSync(path, 0o640);
      },
    ],
    [
      'a file that is no database',
      () => {
        mkdirSync(folder, { mode: 0o700 });
        writeFileSync(path, 'x'.repeat(4096), { mode: 0o600 });
      },
    ],
  ] as const) {
    it(`is refused with ${what} (row 74)`, async () => {
      prepare();
      await assert.rejects(open(), (error: Error) => error.message.includes(folder));
    });
  }

  it('is refused where a newer version wrote it, and stays as it is', async () => {
    await filled();
    const reader = new DatabaseSync(path, { readOnly: true });
    const version = Number(reader.prepare('pragma user_version').get()?.user_version);
    reader.close();
    damage('pragma user_version = 99');
    await assert.rejects(open(), /newer version/);
    damage(`pragma user_version = ${version}`);
    const store = await open();
    assert.equal((await store.enrolment.nodes()).length, 3);
    await store[Symbol.asyncDispose]();
  });

  it('is refused where another program wrote it', async () => {
    mkdirSync(folder, { mode: 0o700 });
    writeFileSync(path, '', { mode: 0o600 });
    damage('create table theirs (a)');
    await assert.rejects(open(), /another program/);
  });

  it('logs less than 700 bytes for a verdict that is the one before, beside its evidence', async () => {
    const store = await open();
    const nodes = Array.from({ length: 256 }, (_, index) => madeNode(`node-${index}`));
    await Promise.all(nodes.map((node) => store.enrolment.enrol(node, madeEvent('enrol', node.name))));
    await Promise.all(nodes.map((node) => store.verdicts.recordChange(madeRecord(node, 1_000))));
    const repeatAll = async (at: number) => {
      const written = nodes.map((node) => store.verdicts.recordRepeat(madeRepeat(node, at)));
      await store.verdicts.settled();
      await Promise.all(written);
      return statSync(`${path}-wal`).size;
    };
    const before = await repeatAll(2_000);
    const each = ((await repeatAll(3_000)) - before) / nodes.length;
    assert.ok(each > 0 && each < 700, `${each} bytes`);
    await store[Symbol.asyncDispose]();
  });

  it('notes once a day that a part is used which each answer names', async () => {
    const store = await open();
    const [node, part, hour] = [madeNode('node-1'), madeBlob('a boot log'), 3_600_000];
    await store.enrolment.enrol(node, madeEvent('enrol', 'node-1'));
    const first = madeRecord(node, 0);
    const parts = { boot: part.digest };
    await store.verdicts.recordChange({
      ...first,
      status: { ...first.status, parts },
      evidence: [...first.evidence, part],
    });
    const notedAt: unknown[] = [];
    for (const hours of [1, 2, 23, 25, 26, 27, 48, 50]) {
      const written = store.verdicts.recordRepeat({ ...madeRepeat(node, hours * hour), parts });
      await store.verdicts.settled();
      await written;
      const reader = new DatabaseSync(path, { readOnly: true });
      const uses = reader.prepare('select at from evidence_uses where digest = ?');
      notedAt.push(Number(uses.get(part.digest)?.at) / hour);
      reader.close();
    }
    assert.deepEqual(notedAt, [0, 0, 0, 25, 25, 25, 25, 50]);
    await store[Symbol.asyncDispose]();
  });

  it('frees a node whose TPM was held for other firmware, as 0.3.0 did, and no other (row 30)', async () => {
    await filled();
    for (const [node, held] of [
      ['node-1', 'tpm_firmware'],
      ['node-2', 'clone_suspected'],
    ])
      damage(
        `update statuses set sequence = '{"firstBootId":"a","rewind":"none","held":"${held}"}' where ek_digest = (select ek_digest from nodes where name = '${node}')`,
      );
    const store = await open();
    const kept = await Promise.all(['node-1', 'node-2'].map((node) => store.verdicts.status(node)));
    const rest = { firstBootId: 'a', rewind: 'none', replaced: null };
    assert.deepEqual(
      kept.map((status) => status?.sequence),
      [
        { ...rest, held: null },
        { ...rest, held: 'clone_suspected' },
      ],
    );
    await store[Symbol.asyncDispose]();
  });

  for (const [what, sql, table = 'statuses'] of [
    [
      'is held for something of another version',
      `sequence = '{"firstBootId":null,"rewind":"none","held":"clock_rewind"}'`,
    ],
    ['is not JSON', "verdict = '{'"],
    ['has a code of another version', `verdict = replace(verdict, '"trusted"', '"splendid"')`],
    ['has a clock that is no number', "clock = 'noon'", 'proofs'],
    ['has a state of another version', "state = 'splendid'"],
  ] as const) {
    it(`names a status that ${what}, holds its node, and gives all others (row 128)`, async () => {
      await filled();
      damage(
        `update ${table} set ${sql} where ek_digest = (select ek_digest from nodes where name = 'node-2')`,
      );
      const store = await open();
      assert.deepEqual(
        (await store.verdicts.statuses()).map(({ name, state, sequence }) => [
          name,
          state,
          sequence?.held ?? null,
        ]),
        [
          ['node-1', 'trusted', null],
          ['node-2', 'unknown', 'counter_rollback'],
          ['node-3', 'trusted', null],
        ],
      );
      assert.deepEqual(
        told.map(({ table, key }) => [table, key]),
        [['status', 'node-2']],
      );
      await assert.rejects(store.verdicts.status('node-2'), {
        name: 'UnreadableRow',
        table: 'status',
        key: 'node-2',
      });
      assert.equal((await store.verdicts.status('node-3'))?.state, 'trusted');
      await store.verdicts.recordChange(madeRecord(madeNode('node-2'), 4_000));
      assert.equal((await store.verdicts.status('node-2'))?.state, 'trusted');
      await store[Symbol.asyncDispose]();
    });
  }

  it('names a node that is unreadable, and gives all others', async () => {
    await filled();
    damage("update nodes set bound = 'hearsay' where name = 'node-1'");
    const store = await open();
    assert.deepEqual(
      (await store.enrolment.nodes()).map(({ name }) => name),
      ['node-2', 'node-3'],
    );
    await assert.rejects(store.enrolment.node('node-1'), {
      name: 'UnreadableRow',
      table: 'node',
      key: 'node-1',
    });
    await store[Symbol.asyncDispose]();
  });

  it('fills a page of history past an unreadable row', async () => {
    await filled();
    damage("update history set verdict = '[]' where at = 2000");
    const store = await open();
    const entries = await store.verdicts.history('node-1', { limit: 2 });
    assert.deepEqual(
      entries.map(({ at }) => at),
      [3_000, 1_000],
    );
    assert.equal(told.length, 1);
    await store[Symbol.asyncDispose]();
  });

  it('names a reference that is unreadable, and leaves it out', async () => {
    await filled();
    damage("insert into reference_values values ('workers-1', '{}')");
    const store = await open();
    assert.deepEqual(await store.references.list(), []);
    assert.equal(told[0]?.table, 'reference');
    await store[Symbol.asyncDispose]();
  });

  it('gives no evidence whose bytes were changed', async () => {
    await filled();
    damage("update answers set bytes = x'00'");
    const store = await open();
    const digest = (await store.verdicts.status('node-1'))?.evidenceDigest ?? '';
    await assert.rejects(store.evidence.read(digest, 'node-1'), {
      name: 'UnreadableRow',
      table: 'evidence',
      key: digest,
    });
    await store[Symbol.asyncDispose]();
  });

  it('refuses to edit or shorten the audit log by plain SQL', async () => {
    await filled();
    assert.throws(() => damage("update audit set actor = 'nobody'"), /append-only/);
    assert.throws(() => damage('delete from audit'), /append-only/);
  });

  for (const [what, sql, seq] of [
    ['edited', "update audit set actor = 'nobody' where seq = 3", 3],
    ['damaged at the end', "update audit set detail = '{' where seq = 12", 12],
    ['cut out', 'delete from audit where seq = 5', 5],
  ] as const) {
    it(`shows an audit entry that was ${what}`, async () => {
      await filled();
      damage(`drop trigger audit_is_never_edited; drop trigger audit_is_never_shortened; ${sql}`);
      const store = await open();
      const check = verifyChain(await store.audit.entries({ limit: 100 }));
      assert.equal(check.ok, false);
      assert.equal(!check.ok && check.seq, seq);
      await store[Symbol.asyncDispose]();
    });
  }
});
