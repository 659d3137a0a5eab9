import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { upgradedFor } from '../../../attest-server/state/version-file.ts';

const minute = 60_000;

describe('since when a version runs on a state folder', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-version-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('is nothing that counts where it is the first one', () => {
    assert.equal(upgradedFor(folder, '1.0.0', 1000, false), null);
    assert.equal(upgradedFor(folder, '1.0.0', 1000 + minute, true), null);
  });

  it('is counted from its first start, over restarts', () => {
    upgradedFor(folder, '1.0.0', 1000, false);
    assert.equal(upgradedFor(folder, '1.1.0', 2000, true), 0);
    assert.equal(upgradedFor(folder, '1.1.0', 2000 + minute, true), minute);
    // Back to the one before is another version, too.
    assert.equal(upgradedFor(folder, '1.0.0', 3000 + minute, true), 0);
  });

  it('is counted where a version ran that wrote none, or nobody can read it', async () => {
    assert.equal(upgradedFor(folder, '1.0.0', 1000, true), 0);
    await writeFile(join(folder, 'version'), 'garbage', { mode: 0o600 });
    assert.equal(upgradedFor(folder, '1.0.0', 1000, true), 0);
    assert.equal(await readFile(join(folder, 'version'), 'utf8'), '1.0.0 1000\n');
  });
});
