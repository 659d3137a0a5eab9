import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { identityIn } from './made-identity.ts';

describe("the server's own authority", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-tls-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  it('is made once, signs the certificate, and keeps its keys private (row 74)', async () => {
    const first = await identityIn(dir, ['localhost', '127.0.0.1'], Date.now());
    const second = await identityIn(dir, ['localhost', '127.0.0.1'], Date.now());
    assert.deepEqual(second, first);
    const leaf = new X509Certificate(first.chain);
    assert.ok(leaf.verify(new X509Certificate(first.ca).publicKey));
    assert.ok(leaf.checkHost('localhost') !== undefined && leaf.checkIP('127.0.0.1') !== undefined);
    for (const name of ['ca.key', 'server.key'])
      assert.equal((await stat(join(dir, 'tls', name))).mode & 0o777, 0o600);
  });

  it('certifies a new name under the same authority', async () => {
    const before = await identityIn(dir, ['localhost'], Date.now());
    const after = await identityIn(dir, ['localhost', 'assay.example'], Date.now());
    assert.equal(after.caDigest, before.caDigest);
    assert.ok(new X509Certificate(after.chain).checkHost('assay.example'));
  });

  it('is made anew with its key where somebody put another authority in the place of its own', async () => {
    const before = await identityIn(dir, ['localhost'], Date.now());
    await mkdir(join(dir, 'other'), { mode: 0o700 });
    const other = await identityIn(join(dir, 'other'), ['localhost'], Date.now());
    for (const name of ['ca.crt', 'ca.key'])
      await copyFile(join(dir, 'other', 'tls', name), join(dir, 'tls', name));
    const after = await identityIn(dir, ['localhost'], Date.now());
    assert.deepEqual([after.ca, after.replaced], [other.ca, null]);
    assert.notEqual(after.key, before.key);
    assert.ok(new X509Certificate(after.chain).verify(new X509Certificate(other.ca).publicKey));
  });

  /** An authority of somebody's own, as docs/certificates.md allows it. */
  async function bringAuthority(...newKey: readonly string[]): Promise<void> {
    const tls = join(dir, 'tls');
    await mkdir(tls, { mode: 0o700 });
    const files = ['-keyout', join(tls, 'ca.key'), '-out', join(tls, 'ca.crt')];
    const of = ['-subj', '/CN=own', '-addext', 'basicConstraints=critical,CA:TRUE', '-days', '800'];
    await run('openssl', ['req', '-x509', '-nodes', '-newkey', ...newKey, ...of, ...files], {
      timeoutMs: 30_000,
      maxOutputBytes: 1 << 16,
    });
    await chmod(join(tls, 'ca.key'), 0o600);
  }

  for (const [what, ...newKey] of [
    ['RSA of 2048 bits', 'rsa:2048'],
    ['P-256', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
    ['P-521', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-521'],
    ['Ed25519', 'ed25519'],
  ] as const)
    it(`may be brought: ${what}`, async () => {
      await bringAuthority(...newKey);
      const { ca, chain } = await identityIn(dir, ['localhost'], Date.now());
      assert.equal(ca, await readFile(join(dir, 'tls', 'ca.crt'), 'utf8'));
      assert.ok(new X509Certificate(chain).verify(new X509Certificate(ca).publicKey));
    });

  it('is named, with what to do, where its key is too short', async () => {
    await bringAuthority('rsa:1024');
    await assert.rejects(identityIn(dir, ['localhost'], Date.now()), ({ message }: Error) => {
      assert.ok(message.startsWith(`${join(dir, 'tls', 'ca.crt')} `), message);
      return message.includes('2048 bits');
    });
  });

  it('renews the certificate before it ends', async () => {
    const before = await identityIn(dir, ['localhost'], Date.now());
    const later = before.notAfter - 30 * 24 * 3600_000;
    await identityIn(dir, ['localhost'], later);
    assert.notEqual(
      await readFile(join(dir, 'tls', 'server.crt'), 'utf8'),
      before.chain.replace(before.ca, ''),
    );
  });
});
