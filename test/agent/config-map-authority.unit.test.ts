import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { readTrust } from '../../agent/server-identity.ts';
import { openStateDir } from '../../agent/state-dir.ts';
import { type MadeAuthority, makeAuthority } from './made-authority.ts';

describe('an authority that the kubelet mounts from a ConfigMap', () => {
  let old: MadeAuthority;
  let next: MadeAuthority;
  let folder = '';
  let caFile = '';
  let written = 0;
  before(async () => {
    old = await makeAuthority();
    next = await makeAuthority();
  });
  after(async () => {
    await old?.[Symbol.asyncDispose]();
    await next?.[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-config-map-'));
    await mkdir(join(folder, 'volume'));
    caFile = join(folder, 'volume', 'ca.crt');
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** As the kubelet does: a folder for each version, and one link that leads to the one of now. */
  async function mount(data: Readonly<Record<string, string>>): Promise<void> {
    const volume = join(folder, 'volume');
    const version = `..version_${written++}`;
    await mkdir(join(volume, version));
    for (const [name, text] of Object.entries(data)) await writeFile(join(volume, version, name), text);
    await symlink(version, join(volume, '..data_tmp'));
    await rename(join(volume, '..data_tmp'), join(volume, '..data'));
    for (const name of Object.keys(data))
      await symlink(join('..data', name), join(volume, name)).catch((error: unknown) => {
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      });
  }
  const read = async () =>
    readTrust(
      { caFile, joinToken: null, state: await openStateDir(join(folder, 'state')) },
      { host: '127.0.0.1', port: 1 },
      new AbortController().signal,
    );

  it('is taken at the next connection where it is another one', async () => {
    await mount({ 'ca.crt': old.ca });
    assert.deepEqual((await read()).digests, [old.digest]);
    await mount({ 'ca.crt': old.ca + next.ca });
    assert.deepEqual((await read()).digests, [old.digest, next.digest]);
    await mount({ 'ca.crt': next.ca });
    assert.deepEqual((await read()).digests, [next.digest]);
  });

  for (const [what, data] of [
    ['is not there', {}],
    ['is empty', { 'ca.crt': '' }],
    ['is none', { 'ca.crt': 'not yet' }],
  ] as const)
    it(`is waited for while it ${what}: the server may start later than its agents`, async () => {
      await mount(data);
      await assert.rejects(read(), { code: 'ca_file', retryable: true });
      await mount({ 'ca.crt': old.ca });
      assert.deepEqual((await read()).digests, [old.digest]);
    });

  it('is not waited for where an operator named a file that is not there', async () => {
    await assert.rejects(read(), { code: 'ca_file', retryable: false });
  });
});
