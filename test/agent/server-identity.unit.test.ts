import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { parseJoinToken, readJoinToken } from '../../agent/join-token.ts';
import { checkChain, readTrust } from '../../agent/server-identity.ts';
import { openStateDir } from '../../agent/state-dir.ts';
import { type MadeAuthority, makeAuthority } from './made-authority.ts';
import { startTinyServer } from './tiny-server.ts';

const secret = 's'.repeat(43);
const live = new AbortController().signal;

describe("the server's identity", () => {
  let authority: MadeAuthority;
  let other: MadeAuthority;
  let folder = '';
  before(async () => {
    authority = await makeAuthority();
    other = await makeAuthority();
  });
  after(async () => {
    await authority[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-agent-state-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const tokenFor = (digest: string) => parseJoinToken(`assay-join.v1.id1.${secret}.${digest}`);

  it('is the authority that the join token names, kept for later', async () => {
    const { key, cert } = await authority.issue();
    await using server = await startTinyServer({ key, cert: cert + authority.ca }, () => {});
    const state = await openStateDir(folder);
    const joinToken = tokenFor(authority.digest);
    const address = { host: '127.0.0.1', port: server.port };
    const { pem } = await readTrust({ caFile: null, joinToken, state }, address, live);
    assert.equal(new X509Certificate(pem).fingerprint256, new X509Certificate(authority.ca).fingerprint256);
    assert.equal((await stat(join(folder, 'server-ca.pem'))).mode & 0o777, 0o600);
    const nowhere = { host: '127.0.0.1', port: 1 };
    assert.equal((await readTrust({ caFile: null, joinToken: null, state }, nowhere, live)).pem, pem);
  });

  it('is refused where the server shows no authority with the key that the token names', async () => {
    const { key, cert } = await other.issue();
    await using server = await startTinyServer({ key, cert: cert + other.ca }, () => {});
    const state = await openStateDir(folder);
    const source = { caFile: null, joinToken: tokenFor(authority.digest), state };
    const address = { host: 'localhost', port: server.port };
    await assert.rejects(readTrust(source, address, live), { code: 'server_identity' });
    assert.equal(await state.read('serverCa'), null);
  });

  it('is refused where the true authority is shown beside the leaf of another', async () => {
    const { cert } = await other.issue();
    const chain = [new X509Certificate(cert), new X509Certificate(authority.ca)];
    assert.throws(() => checkChain(chain, 'localhost', { authorityDigest: authority.digest }, new Date()), {
      code: 'server_identity',
    });
  });

  it('is refused for another host, or at another time, or without an authority flag', async () => {
    const token = { authorityDigest: authority.digest };
    const ca = new X509Certificate(authority.ca);
    const chain = [new X509Certificate((await authority.issue()).cert), ca];
    const later = new Date(Date.now() + 36 * 3_600_000);
    assert.equal(checkChain(chain, 'localhost', token, new Date()), ca);
    for (const [host, now] of [
      ['127.0.0.2', new Date()],
      ['assay.example', new Date()],
      ['localhost', later],
      ['localhost', new Date(0)],
    ] as const)
      assert.throws(() => checkChain(chain, host, token, now), { code: 'server_identity' });
    await using plain = await makeAuthority(false);
    const chainOfPlain = [new X509Certificate((await plain.issue()).cert), new X509Certificate(plain.ca)];
    assert.throws(
      () => checkChain(chainOfPlain, 'localhost', { authorityDigest: plain.digest }, new Date()),
      { code: 'server_identity' },
    );
  });

  it('is the file where one is given, unless the token names another', async () => {
    const state = await openStateDir(folder);
    const caFile = join(folder, 'ca.pem');
    await writeFile(caFile, authority.ca);
    const address = { host: 'localhost', port: 1 };
    assert.equal((await readTrust({ caFile, joinToken: null, state }, address, live)).pem, authority.ca);
    const joinToken = tokenFor(other.digest);
    await assert.rejects(readTrust({ caFile, joinToken, state }, address, live), { code: 'ca_file' });
    const missing = join(folder, 'none.pem');
    await assert.rejects(readTrust({ caFile: missing, joinToken: null, state }, address, live), {
      code: 'ca_file',
    });
  });

  it('is not looked for in a folder that others may change (row 74)', async () => {
    await chmod(folder, 0o750);
    await assert.rejects(openStateDir(folder), { code: 'state_dir' });
    await writeFile(join(folder, 'file'), '');
    await assert.rejects(openStateDir(join(folder, 'file')), { code: 'state_dir' });
  });

  it('comes with a token whose faults tell nothing of it', async () => {
    const file = join(folder, 'token');
    for (const text of [
      '',
      secret,
      `assay-join.v2.a.${secret}.${'0'.repeat(64)}`,
      `assay-join.v1.a.${secret}x.${'0'.repeat(64)}`,
    ]) {
      await writeFile(file, text);
      await assert.rejects(readJoinToken(file), (error: Error & { readonly code?: string }) => {
        return error.code === 'join_token' && !error.message.includes(secret);
      });
    }
    assert.equal(await readJoinToken(join(folder, 'none')), null);
    await writeFile(file, `assay-join.v1.id1.${secret}.${authority.digest}\n`);
    assert.equal((await readJoinToken(file))?.presented, `id1.${secret}`);
    assert.equal((await readFile(file)).length, 14 + 4 + 44 + 64 + 1);
  });

  it('comes with a token that says whose it must be, where the agent may not read it', async () => {
    const file = join(folder, 'token');
    await writeFile(file, secret, { mode: 0 });
    // Root may read any file.
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(65_534);
    try {
      await assert.rejects(readJoinToken(file), {
        code: 'join_token',
        message: `the join token ${file} cannot be read: give it to the user of the agent (chown assay-agent ${file})`,
      });
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });
});
