import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { readReference } from '../../../../attest-server/cli/offline/reference-file.ts';

const reference = `version: 1
name: workers
group: !a-tag-that-nobody-knows workers
state: active
expires: null
pcrs: {}
`;

describe('a reference file in YAML', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-reference-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('prints none of its own words as a warning of the program', async () => {
    const warnings: string[] = [];
    const note = ({ message }: Error) => warnings.push(message);
    process.on('warning', note);
    try {
      const path = join(folder, 'workers.yaml');
      await writeFile(path, reference);
      assert.equal(readReference(path).group, 'workers');
      await turn();
      assert.deepEqual(warnings, []);
    } finally {
      process.off('warning', note);
    }
  });
});
