import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { verifyChain } from '../../../attest-server/audit/chain.ts';
import { madeEvent, madeNode, madeRecord } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

describe('a backup of a store', () => {
  let parent: string;
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'assay-backup-'));
  });
  afterEach(() => rmSync(parent, { recursive: true }));
  const open = (path: string) => openMadeStore(path);

  it('has its name once it is whole: one that a kill cut off looks like none', async () => {
    const store = await open(join(parent, 'state', 'assay.db'));
    const copy = join(parent, 'backups', 'copy.db');
    const copying = store.backup(copy);
    assert.equal(existsSync(copy), false);
    await copying;
    assert.equal(statSync(copy).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(join(parent, 'backups')), ['copy.db']);
    // Of one that was cut off.
    writeFileSync(join(parent, 'backups', 'next.db.part'), 'x', { mode: 0o600 });
    await store.backup(join(parent, 'backups', 'next.db'));
    assert.deepEqual(readdirSync(join(parent, 'backups')), ['copy.db', 'next.db']);
    await store[Symbol.asyncDispose]();
  });

  it('is one moment of it, whatever is written meanwhile', async () => {
    const store = await open(join(parent, 'state', 'assay.db'));
    const node = madeNode('node-1');
    await store.enrolment.enrol(node, madeEvent('enrol', 'node-1'));
    let at = 1_000;
    let copying = true;
    const written = new EventEmitter();
    const writing = (async () => {
      while (copying) {
        at += 1;
        await store.verdicts.recordChange(madeRecord(node, at, undefined, Buffer.alloc(20_000, at)));
        written.emit('verdict');
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const copies: string[] = [];
    for (let turn = 0; turn < 5; turn += 1) {
      const copy = join(parent, 'backups', `copy-${turn}.db`);
      // Each copy is begun with something new to copy, however quick this machine is.
      await once(written, 'verdict');
      await store.backup(copy);
      copies.push(copy);
    }
    copying = false;
    await writing;
    await store[Symbol.asyncDispose]();
    let before = 0;
    for (const copy of copies) {
      assert.equal(statSync(copy).mode & 0o777, 0o600);
      const restored = await open(copy);
      const check = verifyChain(await restored.audit.entries({ limit: 100_000 }));
      assert(check.ok && check.size > before);
      before = check.size;
      // Verdict, history, evidence and audit entry of one transaction are all there or none.
      const history = await restored.verdicts.history('node-1', { limit: 100_000 });
      assert.equal(history.length, check.size - 1);
      const status = await restored.verdicts.status('node-1');
      assert.equal(status?.evidenceDigest ?? null, history[0]?.evidenceDigest ?? null);
      for (const { evidenceDigest } of history)
        assert.notEqual(await restored.evidence.read(evidenceDigest ?? '', 'node-1'), null);
      await restored[Symbol.asyncDispose]();
    }
    assert(before > 1);
  });

  it('replaces nothing, and leaves nothing where it fails', async () => {
    const store = await open(join(parent, 'state', 'assay.db'));
    const taken = join(parent, 'backups', 'taken.db');
    await store.backup(taken);
    await assert.rejects(store.backup(taken));
    writeFileSync(join(parent, 'file'), '');
    await assert.rejects(store.backup(join(parent, 'file', 'copy.db')));
    await store[Symbol.asyncDispose]();
    const memory = await open(':memory:');
    await assert.rejects(memory.backup(join(parent, 'backups', 'memory.db')));
    assert.equal(existsSync(join(parent, 'backups', 'memory.db')), false);
    await memory[Symbol.asyncDispose]();
  });
});
