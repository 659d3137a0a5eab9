import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { AuditLog } from '../../../attest-server/audit/audit-log.ts';
import { backUp } from '../../../attest-server/audit/backup.ts';
import { openCustody } from '../../../attest-server/custody/open.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { parseCheckpoint, verifyCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';

interface Opened {
  readonly store: Store;
  readonly log: AuditLog;
  readonly told: readonly string[];
}

describe('the audit log of a server', () => {
  let root: string;
  let dir: string;
  const opened: Store[] = [];
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'assay-audit-'));
    dir = join(root, 'state');
  });
  afterEach(async () => {
    for (const store of opened.splice(0)) await store[Symbol.asyncDispose]();
    rmSync(root, { recursive: true });
  });

  async function open(stateDir = dir): Promise<Opened> {
    const store = await openMadeStore(join(stateDir, 'assay.db'));
    opened.push(store);
    const told: string[] = [];
    const log = await AuditLog.open({
      store: store.audit,
      stateDir,
      keys: openCustody(stateDir, stateDir).audit,
      now: () => 1_000,
      signed: () => {},
      rolledBack: (text) => told.push(text),
    });
    return { store, log, told };
  }
  const size = ({ log }: Opened) => parseCheckpoint(log.shown?.checkpoint ?? '').size;
  const actions = async ({ store }: Opened) =>
    (await store.audit.entries({ limit: 100 })).map(({ action }) => action);
  const close = async ({ store }: Opened) => {
    await store[Symbol.asyncDispose]();
    opened.splice(opened.indexOf(store), 1);
  };

  it('are signed from the first entry on, by a key that only their owner can read (row 74)', async () => {
    const world = await open();
    const { checkpoint, auditKeys } = world.log.shown ?? assert.fail();
    const key = Buffer.from(auditKeys[0]?.publicKey ?? '', 'base64');
    const head = await world.store.audit.head();
    assert.deepEqual(verifyCheckpoint(checkpoint, key), { origin: world.log.origin, ...head });
    assert.equal(statSync(join(dir, 'audit.key')).mode & 0o777, 0o600);
    assert.equal(readFileSync(join(dir, 'audit-checkpoint'), 'utf8'), checkpoint);
  });

  it('are signed by a new key only once the store knows it, though there was no room at first', async () => {
    const world = await open();
    const { audit } = world.store;
    const addKey = audit.addKey.bind(audit);
    audit.addKey = () => Promise.reject(new Error('no room on the disk'));
    await assert.rejects(world.log.rotate('token:admin'), /no room/);
    await audit.append(madeEvent('enrol', 'node-1'));
    const before = size(world);
    await assert.rejects(world.log.sign(), /no room/);
    assert.equal(size(world), before);
    audit.addKey = addKey;
    await world.log.sign();
    assert.ok(size(world) > before);
    assert.deepEqual((await audit.origins()).at(-1)?.keys, world.log.keys);
    assert.equal(parseCheckpoint(world.log.shown?.checkpoint ?? '').keyId, world.log.keyId);
  });

  it('are signed anew only where something was added', async () => {
    const world = await open();
    await world.log.sign();
    assert.equal((await world.store.audit.checkpoints({ limit: 10 })).length, 1);
    await world.store.audit.append(madeEvent('enrol', 'node-1'));
    await Promise.all([world.log.sign(), world.log.sign()]);
    assert.equal((await world.store.audit.checkpoints({ limit: 10 })).length, 2);
    assert.equal(size(world), 2);
  });

  it('go on under the same key after a start', async () => {
    const first = await open();
    await close(first);
    const second = await open();
    assert.deepEqual(second.log.shown, first.log.shown);
    assert.deepEqual(second.told, []);
    assert.equal(second.log.rollback, null);
  });

  it('get a new key that the old one signed, and say so', async () => {
    const world = await open();
    await world.log.rotate('token:admin');
    const keys = world.log.shown?.auditKeys ?? [];
    assert.equal(keys.length, 2);
    const checkpoint = world.log.shown?.checkpoint ?? '';
    verifyCheckpoint(checkpoint, Buffer.from(keys[1]?.publicKey ?? '', 'base64'));
    assert.deepEqual(await actions(world), ['audit_key.create', 'audit_key.rotate']);
    await close(world);
    assert.deepEqual((await open()).told, []);
  });

  it('accept a store from before a rotation beside the key from after it', async () => {
    const world = await open();
    await backUp(world.store, dir, 'token:admin', 1_000);
    await world.log.rotate('token:admin');
    await close(world);
    restore();
    const restored = await open();
    assert.equal(restored.log.keys.length, 2);
    assert.deepEqual(await restored.store.audit.origins(), [
      { origin: restored.log.origin, keys: restored.log.keys },
    ]);
    assert.equal(restored.told.length, 1);
  });

  it('stay closed beside the key of another installation, and without a key', async () => {
    const mine = await open();
    const other = await open(join(root, 'other'));
    await Promise.all([close(mine), close(other)]);
    cpSync(join(root, 'other', 'audit.key'), join(dir, 'audit.key'));
    const keyId = parseCheckpoint(mine.log.shown?.checkpoint ?? '').keyId;
    const otherId = parseCheckpoint(other.log.shown?.checkpoint ?? '').keyId;
    await assert.rejects(
      open(),
      (error: Error) => error.message.includes(keyId) && error.message.includes(otherId),
    );
    rmSync(join(dir, 'audit.key'));
    await assert.rejects(open(), (error: Error) => error.message.includes(keyId));
  });

  it('stay closed where others may read the key', async () => {
    await close(await open());
    chmodSync(join(dir, 'audit.key'), 0o640);
    await assert.rejects(open());
  });

  it('stay closed beside a damaged key, of which no error repeats a piece', async () => {
    await close(await open());
    const file = join(dir, 'audit.key');
    const text = readFileSync(file, 'utf8');
    const [, secret = assert.fail()] = /PRIVATE KEY-----\\n([A-Za-z0-9+/=]{64})/.exec(text) ?? [];
    // The quotation mark is where the key begins: what stands behind it is what is shown of a fault.
    writeFileSync(file, text.replace(secret, `"${secret}`));
    await assert.rejects(open(), (error) => {
      assert.ok(error instanceof Error && /audit\.key cannot be used: it is not JSON/.test(error.message));
      assert.ok(!inspect(error).includes(secret.slice(0, 6)));
      return true;
    });
  });

  it('tell loudly that an older database was put in their place, until a person has looked', async () => {
    const world = await open();
    await backUp(world.store, dir, 'token:admin', 1_000);
    await world.store.audit.append(madeEvent('enrol', 'node-1'));
    await world.log.sign();
    await close(world);
    restore();
    const restored = await open();
    assert.equal(restored.told.length, 1);
    assert.equal((await restored.store.audit.entries({ limit: 100 })).at(-1)?.code, 'audit_rollback');
    assert.notEqual(restored.log.rollback, null);
    await close(restored);
    const again = await open();
    assert.deepEqual(again.told, []);
    assert.notEqual(again.log.rollback, null);
    assert.equal(await again.log.resolve('token:ann', 'restored from the backup'), true);
    assert.equal(again.log.rollback, null);
    assert.equal(await again.log.resolve('token:ann', 'once more'), false);
    await close(again);
    assert.equal((await open()).log.rollback, null);
  });

  it('keep the first proof that they were rolled back, whoever does it again (row 104)', async () => {
    const world = await open();
    await backUp(world.store, dir, 'token:admin', 1_000);
    await world.store.audit.append(madeEvent('enrol', 'node-1'));
    await world.log.sign();
    const first = world.log.shown?.checkpoint ?? assert.fail();
    await close(world);
    for (let round = 0; round < 2; round += 1) {
      restore();
      const restored = await open();
      assert.equal(restored.told.length, 1);
      assert.equal(readFileSync(join(dir, 'audit-checkpoint.rolled-back'), 'utf8'), first);
      await close(restored);
    }
    const last = await open();
    await last.log.resolve('token:ann', 'restored twice');
    const entry = (await last.store.audit.entries({ limit: 100 })).at(-1);
    assert.deepEqual(
      [entry?.action, entry?.actor, entry?.detail],
      ['audit.resolve', 'token:ann', { reason: 'restored twice', proof: first }],
    );
    assert.equal(readFileSync(join(dir, 'audit-checkpoint.resolved'), 'utf8'), first);
    // An agent that saw the lost log tells nothing new.
    assert.equal(await last.log.contradicts(first), null);
  });

  it('tell that the tail was cut, also where the mark beside the database is gone', async () => {
    const world = await open();
    for (const name of ['node-1', 'node-2']) await world.store.audit.append(madeEvent('enrol', name));
    await world.log.sign();
    await close(world);
    const database = new DatabaseSync(join(dir, 'assay.db'));
    database.exec('drop trigger audit_is_never_shortened; delete from audit where seq > 2');
    database.close();
    rmSync(join(dir, 'audit-checkpoint'));
    const cut = await open();
    assert.equal(cut.told.length, 1);
    assert(existsSync(join(dir, 'audit-checkpoint.rolled-back')));
    assert.equal(size(cut), 3);
  });

  it('contradict a checkpoint of theirs under another log, and no word of others', async () => {
    const world = await open();
    const before = world.log.shown?.checkpoint ?? '';
    assert.equal(await world.log.contradicts(before), null);
    await backUp(world.store, dir, 'token:admin', 1_000);
    await world.store.audit.append(madeEvent('enrol', 'node-1'));
    await world.log.sign();
    const later = world.log.shown?.checkpoint ?? '';
    const other = await open(join(root, 'other'));
    assert.equal(await world.log.contradicts(other.log.shown?.checkpoint ?? ''), null);
    assert.equal(await world.log.contradicts('no checkpoint'), null);
    await close(world);
    restore();
    const restored = await open();
    assert.notEqual(await restored.log.contradicts(later), null);
    assert.equal(await restored.log.contradicts(before), null);
    assert.notEqual(restored.log.rollback, null);
  });

  /** Puts the one backup in the place of the database. */
  function restore(): void {
    for (const end of ['', '-wal', '-shm']) rmSync(join(dir, `assay.db${end}`), { force: true });
    cpSync(join(dir, 'backups', 'assay-19700101T000001.000Z.db'), join(dir, 'assay.db'));
  }
});
