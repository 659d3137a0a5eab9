import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { claimFolder } from '../../swtpm-fixtures/cluster/claim.ts';

describe('the claim on a state folder', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-claim-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('belongs to one process at a time, and is free again when that gives it back', async () => {
    const first = await claimFolder(dir);
    await assert.rejects(claimFolder(dir), Error);
    await first[Symbol.asyncDispose]();
    await using _second = await claimFolder(dir);
  });

  it('is free where the process that had it died', async () => {
    writeFileSync(join(dir, 'running.sock'), '');
    await using _claim = await claimFolder(dir);
  });
});
