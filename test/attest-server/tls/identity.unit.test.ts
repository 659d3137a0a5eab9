import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { ensureIdentity } from '../../../attest-server/tls/identity.ts';

describe("the server's own authority", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-tls-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  it('is made once, signs the certificate, and keeps its keys private (row 74)', async () => {
    const first = await ensureIdentity(dir, ['localhost', '127.0.0.1'], Date.now());
    const second = await ensureIdentity(dir, ['localhost', '127.0.0.1'], Date.now());
    assert.deepEqual(second, first);
    const leaf = new X509Certificate(first.chain);
    assert.ok(leaf.verify(new X509Certificate(first.ca).publicKey));
    assert.ok(leaf.checkHost('localhost') !== undefined && leaf.checkIP('127.0.0.1') !== undefined);
    for (const name of ['ca.key', 'server.key'])
      assert.equal((await stat(join(dir, 'tls', name))).mode & 0o777, 0o600);
  });

  it('certifies a new name under the same authority', async () => {
    const before = await ensureIdentity(dir, ['localhost'], Date.now());
    const after = await ensureIdentity(dir, ['localhost', 'assay.example'], Date.now());
    assert.equal(after.caDigest, before.caDigest);
    assert.ok(new X509Certificate(after.chain).checkHost('assay.example'));
  });

  it('renews the certificate before it ends', async () => {
    const before = await ensureIdentity(dir, ['localhost'], Date.now());
    const later = before.notAfter - 30 * 24 * 3600_000;
    await ensureIdentity(dir, ['localhost'], later);
    assert.notEqual(
      await readFile(join(dir, 'tls', 'server.crt'), 'utf8'),
      before.chain.replace(before.ca, ''),
    );
  });
});
