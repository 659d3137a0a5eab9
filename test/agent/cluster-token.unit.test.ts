import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { AgentError } from '../../agent/agent-error.ts';
import { readClusterToken } from '../../agent/cluster-token.ts';

describe('the token of the agent’s service account', () => {
  let folder: string;
  let path: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-token-'));
    path = join(folder, 'token');
  });
  after(() => rm(folder, { recursive: true }));

  it('is what the kubelet last wrote', async () => {
    await writeFile(path, 'head.claims.signature');
    assert.equal(await readClusterToken(path), 'head.claims.signature');
    await writeFile(`${path}.new`, 'other.claims.signature\n');
    await rename(`${path}.new`, path);
    assert.equal(await readClusterToken(path), 'other.claims.signature');
  });

  const bad: Readonly<Record<string, readonly [string | null, RegExp]>> = {
    'is waited for where it is not there yet': [null, /cannot be read \(ENOENT\): mount a projected token/],
    'is none where the file is empty': [' \n', /holds no token/],
    'is none where it has characters of none': ['a.b\u0000secret', /holds no token/],
    'is none where it is too long': ['a'.repeat(4097), /is longer than 4096 bytes/],
  };
  for (const [name, [text, said]] of Object.entries(bad))
    it(`${name}, which is said without a word of it`, async () => {
      await rm(path, { force: true });
      if (text !== null) await writeFile(path, text);
      await assert.rejects(readClusterToken(path), (error) => {
        assert.ok(error instanceof AgentError && error.code === 'cluster_token' && error.retryable);
        assert.match(error.message, said);
        assert.equal(/secret|aaaa/.test(error.message), false);
        return true;
      });
    });
});
