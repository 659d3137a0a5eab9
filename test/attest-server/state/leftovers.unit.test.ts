import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { openState } from '../../../attest-server/state/open.ts';

const uuid = '3f2b8c1e-0d4a-4b7e-9c55-7a1d2e3f4a5b';
const left = [
  `admin.token.${uuid}`,
  `audit.key.${uuid}`,
  `tls/server.key.${uuid}`,
  'tls/ca.crt.new',
  'tls/next.crt.new',
  'backups/assay-20261201T093927.248Z.db.part',
  'backups/assay-20261201T093927.248Z.db.part-journal',
];
const kept = [
  'admin.token',
  'assay.db',
  'assay.db-wal',
  'audit.key',
  'backups/assay-20261201T093921.119Z.db',
  'backups/mine.part',
  'tls/ca.crt',
  'tls/next.key',
  uuid,
];

describe('what a server leaves that was killed', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-leftovers-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  const names = () =>
    ['.', 'tls', 'backups']
      .flatMap((folder) => readdirSync(join(dir, folder)).map((name) => join(folder, name)))
      .sort();

  it('is removed at the next start, and nothing else is (row 395)', async () => {
    for (const folder of ['tls', 'backups']) mkdirSync(join(dir, folder), { mode: 0o700 });
    for (const name of [...left, ...kept]) writeFileSync(join(dir, name), '', { mode: 0o600 });
    await using _state = await openState(dir);
    assert.deepEqual(names(), [...kept, 'backups', 'lock', 'tls'].sort());
  });

  it('stays while another server has the folder', async () => {
    await using _state = await openState(dir);
    writeFileSync(join(dir, left[0] ?? ''), '', { mode: 0o600 });
    await assert.rejects(openState(dir), { name: 'StateInUse' });
    assert.ok(readdirSync(dir).includes(left[0] ?? ''));
  });

  it('is no reason to follow a link or to remove a folder', async () => {
    mkdirSync(join(dir, `a.${uuid}`));
    writeFileSync(join(dir, 'target'), '');
    symlinkSync('target', join(dir, `b.${uuid}`));
    await using _state = await openState(dir);
    assert.deepEqual(readdirSync(dir).sort(), [`a.${uuid}`, `b.${uuid}`, 'lock', 'target']);
  });
});
