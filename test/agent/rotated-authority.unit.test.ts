import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { openChannel } from '../../agent/channel.ts';
import { parseJoinToken } from '../../agent/join-token.ts';
import { readTrust } from '../../agent/server-identity.ts';
import { openStateDir } from '../../agent/state-dir.ts';
import type { ServerIdentity } from '../../attest-server/tls/identity.ts';
import { identityIn } from '../attest-server/tls/made-identity.ts';
import { startTinyServer } from './tiny-server.ts';

describe('an authority that follows another one', () => {
  let dir = '';
  let old: ServerIdentity | null = null;
  let next: ServerIdentity | null = null;
  const live = new AbortController();
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-rotation-'));
    old = await identityIn(join(dir, 'old'), ['127.0.0.1'], Date.now());
    next = await identityIn(join(dir, 'next'), ['127.0.0.1'], Date.now());
  });
  after(async () => {
    live.abort();
    await rm(dir, { recursive: true, force: true });
  });

  async function reach(server: ServerIdentity | null, pem: string): Promise<void> {
    assert(server !== null);
    await using tiny = await startTinyServer({ key: server.key, cert: server.chain }, () => {});
    const file = join(dir, 'ca.pem');
    await writeFile(file, pem);
    const state = await openStateDir(join(dir, 'state'));
    const address = { host: '127.0.0.1', port: tiny.port };
    const { pem: authority } = await readTrust(
      { caFile: file, joinToken: null, state },
      address,
      live.signal,
    );
    const channel = await openChannel({
      server: address,
      authority,
      takes: new Map(),
      signal: live.signal,
    });
    channel.close();
    await channel.closed;
  }

  it('is trusted beside the old one where the file holds both, in either order, though they have one name', async () => {
    assert(old !== null && next !== null);
    for (const pem of [old.ca + next.ca, next.ca + old.ca])
      for (const server of [old, next]) await reach(server, pem);
  });

  it('is not trusted by whoever holds the old one alone', async () => {
    await assert.rejects(reach(next, old?.ca ?? ''), { code: 'connect_failed' });
  });

  it('is found by a join token that names either of the two', async () => {
    assert(old !== null && next !== null);
    const file = join(dir, 'ca.pem');
    await writeFile(file, old.ca + next.ca);
    const state = await openStateDir(join(dir, 'state'));
    const nowhere = { host: '127.0.0.1', port: 1 };
    const read = (digest: string) => {
      const joinToken = parseJoinToken(`assay-join.v1.id1.${'s'.repeat(43)}.${digest}`);
      return readTrust({ caFile: file, joinToken, state }, nowhere, live.signal);
    };
    for (const { caDigest } of [old, next]) assert.equal((await read(caDigest)).pem, old.ca + next.ca);
    await assert.rejects(read('0'.repeat(64)), { code: 'ca_file' });
  });
});
