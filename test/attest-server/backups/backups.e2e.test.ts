import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, afterEach, beforeEach, describe, it } from 'mocha';
import {
  type BackupConfig,
  type BackupParts,
  type Backups,
  openBackups,
} from '../../../attest-server/backups/open.ts';
import { checkStore } from '../../../attest-server/commands/check-store.ts';
import { serverConfig } from '../../../attest-server/config.ts';
import { backupName, parseBackupName } from '../../../attest-server/formats/backup-name.ts';
import { StorageFault, storageCauseOf } from '../../../attest-server/formats/server-fault.ts';
import { ConfigError } from '../../../attest-server/settings/config-error.ts';
import { startTestServer } from '../running-server.ts';
import { openMadeStore } from '../store/made-store.ts';

const hour = 3_600_000;
const instance = 'assay-server-0';

describe('backups that a server makes by itself', function () {
  this.timeout(60_000);
  const parent = mkdtempSync(join(tmpdir(), 'assay-backups-'));
  let dir: string;
  let directory: string;
  let stateDir: string;
  const opened: AsyncDisposable[] = [];
  beforeEach(() => {
    dir = mkdtempSync(join(parent, 'site-'));
    [stateDir, directory] = [join(dir, 'state'), join(dir, 'copies')];
    mkdirSync(stateDir, { mode: 0o700 });
  });
  afterEach(async () => {
    for (const backups of opened.splice(0)) await backups[Symbol.asyncDispose]();
  });
  after(() => rmSync(parent, { recursive: true }));

  /** Opens it, and gives what it reported once it has tried. */
  async function tried(
    change: Partial<BackupParts> = {},
    config: Partial<BackupConfig> = {},
  ): Promise<{
    readonly made: readonly string[];
    readonly faults: readonly unknown[];
    readonly shown: () => ReturnType<Backups['shown']>;
  }> {
    const made: string[] = [];
    const faults: unknown[] = [];
    let found = false;
    const at = change.now?.() ?? Date.now();
    const backups = openBackups(
      { every: hour, directory, keep: 2, instance, ...config },
      {
        stateDir,
        keysDir: stateDir,
        size: () => 1000,
        needsRoom: () => false,
        async backUp(path) {
          writeFileSync(path, 'copy', { mode: 0o600, flag: 'wx' });
          return { bytes: 4 };
        },
        now: () => at,
        report: {
          found() {
            found = true;
          },
          made: ({ path }) => made.push(path),
          failed: (error) => faults.push(error),
        },
        ...change,
      },
    );
    opened.push(backups);
    for (let turn = 0; turn < 20 && !(made.length > 0 || faults.length > 0); turn += 1)
      await new Promise((resolve) => setImmediate(resolve));
    assert.ok(found || faults.length > 0);
    return { made, faults, shown: () => backups.shown() };
  }
  const put = (name: string) => writeFileSync(join(directory, name), 'x', { mode: 0o600 });

  it('are made at once where there is none, and after a restart by the age of the latest', async () => {
    const at = Date.UTC(2026, 0, 1);
    const { made } = await tried({ now: () => at });
    assert.deepEqual(made, [join(directory, backupName(instance, at))]);
    assert.equal(statSync(directory).mode & 0o777, 0o700);
    assert.deepEqual((await tried({ now: () => at + hour - 1 })).made, []);
    assert.equal((await tried({ now: () => at + hour })).made.length, 1);
    // Of a time when the clock was wrong: it is no reason to make none until then.
    put(backupName(instance, at + 1000 * hour));
    assert.equal((await tried({ now: () => at + 2 * hour })).made.length, 1);
  });

  it('are shown as they are: how many, when the latest was made, what failed, and when one is overdue', async () => {
    const opened = Date.UTC(2026, 0, 1);
    let at = opened;
    const { shown } = await tried({ now: () => at });
    const { count, latestAt, isOverdue, fault } = shown() ?? assert.fail();
    assert.deepEqual([count, latestAt, isOverdue, fault], [1, opened, false, null]);
    at = opened + hour + 30 * 60_000;
    assert.equal(shown()?.isOverdue, false);
    at += 1;
    assert.equal(shown()?.isOverdue, true);
    const failing = await tried({ now: () => at, needsRoom: () => true });
    assert.deepEqual([failing.shown()?.count, failing.shown()?.latestAt], [1, opened]);
    assert.match(failing.shown()?.fault ?? '', /has no room for 1000 bytes/);
    assert.equal(openBackups(null, {} as BackupParts).shown(), null);
  });

  it('are kept by number, and nothing else in the folder is ever removed (row 417)', async () => {
    mkdirSync(directory, { mode: 0o700 });
    const at = Date.UTC(2026, 0, 2);
    const old = [1, 2, 3].map((day) => backupName(instance, at - day * 24 * hour));
    for (const name of old) put(name);
    const others = [
      backupName(null, at - 90 * hour),
      backupName('assay-server-1', at - 90 * hour),
      backupName(`${instance}-b`, at - 90 * hour),
      `${backupName(instance, at - 90 * hour)}.old`,
      `x${backupName(instance, at - 90 * hour)}`,
      'assay.db',
      'notes.txt',
    ];
    for (const name of others) put(name);
    writeFileSync(join(dir, 'precious'), 'x');
    const link = backupName(instance, at - 99 * 24 * hour);
    symlinkSync(join(dir, 'precious'), join(directory, link));
    const folder = backupName(instance, at - 98 * 24 * hour);
    mkdirSync(join(directory, folder));
    put(`${old[0]}.part`);
    const { made } = await tried({ now: () => at });
    assert.equal(made.length, 1);
    assert.deepEqual(
      readdirSync(directory).sort(),
      [...others, link, folder, old[0] ?? '', backupName(instance, at)].sort(),
    );
    assert.ok(existsSync(join(dir, 'precious')));
  });

  it('fail without a trace of the older ones, and without an end of the server', async () => {
    mkdirSync(directory, { mode: 0o700 });
    const at = Date.UTC(2026, 0, 2);
    for (const day of [1, 2, 3]) put(backupName(instance, at - day * 24 * hour));
    const before = readdirSync(directory);
    const { made, faults } = await tried({
      now: () => at,
      backUp: () => Promise.reject(new StorageFault('damaged')),
    });
    assert.deepEqual([made.length, faults.length], [0, 1]);
    assert.deepEqual(readdirSync(directory), before);
  });

  it('are refused in a folder that others can change, that is the state, or whose volume is not there (row 418)', async () => {
    for (const [mode, path] of [
      [0o770, directory],
      [0o707, directory],
    ] as const) {
      mkdirSync(path, { recursive: true });
      chmodSync(path, mode);
      assert.equal((await tried()).faults.length, 1, mode.toString(8));
    }
    rmSync(directory, { recursive: true });
    symlinkSync(stateDir, directory);
    for (const folder of [directory, stateDir, join(stateDir, 'copies'), join(dir, 'none', 'copies')]) {
      const { made, faults } = await tried({}, { directory: folder });
      assert.deepEqual([made.length, faults.length], [0, 1], folder);
    }
    assert.equal(existsSync(join(dir, 'none')), false);
  });

  it('never take the room that is kept for a full disk', async () => {
    const { faults } = await tried({ needsRoom: (bytes) => bytes === 1000 });
    assert.equal(storageCauseOf(faults[0]), 'disk_full');
    const tooLarge = await tried({ size: () => Number.MAX_SAFE_INTEGER });
    assert.equal(storageCauseOf(tooLarge.faults[0]), 'disk_full');
  });

  it('have names that say whose they are and when they were made', () => {
    for (const name of [null, 'a', 'assay-server-0', 'a-20260101T000000.000Z'])
      for (const at of [0, Date.UTC(2026, 11, 31, 23, 59, 59, 999)])
        assert.deepEqual(parseBackupName(backupName(name, at)), { instance: name, at });
    for (const name of [
      'assay.db',
      'assay-a.db',
      'assay-a-20261301T000000.000Z.db',
      'assay-a-20260101T000000.000Z.db.part',
    ])
      assert.equal(parseBackupName(name), null);
  });

  it('are whole: one of a damaged database is thrown away', async () => {
    const path = join(stateDir, 'assay.db');
    await (await openMadeStore(path))[Symbol.asyncDispose]();
    const root = new DatabaseSync(path)
      .prepare("select rootpage from sqlite_schema where name = 'pins'")
      .get();
    const file = openSync(path, 'r+');
    writeSync(file, randomBytes(4096), 0, 4096, (Number(root?.rootpage) - 1) * 4096);
    closeSync(file);
    await using store = await openMadeStore(path);
    mkdirSync(directory, { mode: 0o700 });
    await assert.rejects(
      store.backup(join(directory, 'copy.db')),
      (error) => storageCauseOf(error) === 'damaged',
    );
    assert.deepEqual(readdirSync(directory), []);
  });

  it('come from a server, with mode 0600, an entry of the audit log and metrics, and are found whole', async () => {
    await using world = await startTestServer({ backup: { every: hour, directory, keep: 2, instance } });
    await world.until(async () => (await world.metric('assay_backup_last_success_timestamp_seconds')) > 0);
    const [name = ''] = readdirSync(directory);
    assert.equal(statSync(join(directory, name)).mode & 0o777, 0o600);
    assert.equal(await world.metric('assay_backup_failed'), 0);
    assert.equal(await world.metric('assay_backup_interval_seconds'), 3600);
    const entry = (await world.audit()).find(({ action }) => action === 'backup');
    assert.deepEqual([entry?.actor, entry?.subject], ['server', name]);
    assert.equal((await checkStore(join(directory, name), [], () => {})).whole, true);
    utimesSync(join(directory, name), 0, 0);
    await world.restart();
    assert.deepEqual(readdirSync(directory), [name]);
  });

  it('need a folder and a time, and no folder in the state folder', () => {
    const faultsOf = (flags: object) => {
      try {
        serverConfig(null, {}, { stateDir, ...flags });
        return [];
      } catch (error) {
        return error instanceof ConfigError ? error.faults.map(({ key }) => key) : assert.fail(String(error));
      }
    };
    assert.deepEqual(faultsOf({ 'backup.everyHours': 24 }), ['backup.directory']);
    assert.deepEqual(faultsOf({ 'backup.directory': directory }), ['backup.everyHours']);
    for (const within of [stateDir, join(stateDir, 'backups'), `${stateDir}/x/..`])
      assert.deepEqual(faultsOf({ 'backup.everyHours': 24, 'backup.directory': within }), [
        'backup.directory',
      ]);
    assert.deepEqual(faultsOf({ 'backup.everyHours': 24, 'backup.directory': directory }), []);
  });
});
