import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, it } from 'mocha';
import { closeToVolumeGroup } from '../../../attest-server/state/volume-group.ts';

const stranger = 65_533;

describe('a private folder on a volume with a group', () => {
  let volume: string;
  let state: string;
  let group: number;
  before(function () {
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(() => {
    group = process.getegid?.() ?? 0;
    volume = mkdtempSync(join(tmpdir(), 'assay-volume-'));
    chmodSync(volume, 0o2775);
    state = join(volume, 'state');
    mkdirSync(join(state, 'tls'), { recursive: true, mode: 0o700 });
    for (const [name, mode] of [
      ['audit.key', 0o600],
      ['tls/ca.crt', 0o644],
      ['tls/ca.key', 0o600],
    ] as const)
      writeFileSync(join(state, name), name, { mode });
    chmodSync(join(state, 'tls'), 0o700);
    chmodSync(state, 0o700);
  });
  afterEach(() => rmSync(volume, { recursive: true }));
  /** As a kubelet does it at each mount, with fsGroupChangePolicy Always: it adds rights, and takes none. */
  const openAll = () => {
    for (const entry of ['.', ...readdirSync(state, { recursive: true, encoding: 'utf8' })]) {
      const path = join(state, entry);
      const found = lstatSync(path);
      if (found.isSymbolicLink()) continue;
      chmodSync(path, (found.mode & 0o7777) | (found.isDirectory() ? 0o2770 : 0o660));
    }
  };
  const modes = () =>
    ['.', 'audit.key', 'tls', 'tls/ca.crt', 'tls/ca.key'].map((name) =>
      (statSync(join(state, name)).mode & 0o7777).toString(8),
    );

  it('is closed again after a kubelet opened it, and what was private is named', () => {
    assert.equal(closeToVolumeGroup(state), null);
    openAll();
    assert.deepEqual(modes(), ['2770', '660', '2770', '664', '660']);
    const found = closeToVolumeGroup(state);
    assert.equal(found?.group, group);
    assert.deepEqual(
      found?.paths.toSorted(),
      ['.', 'audit.key', 'tls', 'tls/ca.key'].map((name) => join(state, name)),
    );
    assert.deepEqual(modes(), ['2700', '600', '2700', '644', '600']);
    assert.equal(closeToVolumeGroup(state), null);
  });

  it('is refused where another user owns something in it, and says which', () => {
    openAll();
    chownSync(join(state, 'tls/ca.key'), stranger, group);
    assert.throws(() => closeToVolumeGroup(state), /tls\/ca\.key belongs to user 65533/);
    assert.equal(modes()[0], '2700');
    chownSync(join(state, 'tls/ca.key'), 0, group);
    symlinkSync('/etc/passwd', join(state, 'link'));
    assert.equal(closeToVolumeGroup(state)?.paths.length, 3);
    assert.equal(statSync('/etc/passwd').mode & 0o777, 0o644);
  });

  it('stays as it is where no kubelet opened it: others refuse it then', () => {
    openAll();
    for (const [mode, owner] of [
      [0o755, group],
      [0o2755, group],
      [0o2775, stranger],
    ] as const) {
      chownSync(volume, 0, owner);
      chmodSync(volume, mode);
      assert.equal(closeToVolumeGroup(state), null);
    }
    assert.equal(modes()[0], '2770');
  });

  it('is left to others where it belongs to another user, is a link, or is not there', () => {
    openAll();
    chownSync(state, stranger, group);
    assert.equal(closeToVolumeGroup(state), null);
    symlinkSync(state, join(volume, 'link'));
    for (const name of ['link', 'none']) assert.equal(closeToVolumeGroup(join(volume, name)), null);
  });
});
