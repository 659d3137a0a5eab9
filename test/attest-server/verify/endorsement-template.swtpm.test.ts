import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { openTpm } from 'node-tpm2';
import { run } from 'node-tpm2/run';
import { areaOfTemplate } from '../../../attest-server/verify/endorsement-template.ts';
import { launchTpm } from '../../../swtpm-fixtures/tpm.ts';

describe('the public area that a template and a public key make', () => {
  it('is the one of the endorsement key of a TPM, RSA and ECC', async () => {
    await using software = await launchTpm();
    const dir = await mkdtemp(join(tmpdir(), 'assay-ek-'));
    const file = (name: string) => join(dir, name);
    try {
      await using tpm = await openTpm({ tcti: software.tcti });
      const { publicArea, certificate } = await tpm.readEndorsementKey();
      assert.ok(certificate !== null);
      assert.deepEqual(areaOfTemplate(new X509Certificate(certificate).publicKey), publicArea);
      const options = { timeoutMs: 20_000, maxOutputBytes: 65_536, env: { TPM2TOOLS_TCTI: software.tcti } };
      const made = ['-G', 'ecc', '-c', file('ctx'), '-f', 'tss', '-u', file('pub')];
      await run('tpm2_createek', made, options);
      await run('tpm2_readpublic', ['-c', file('ctx'), '-f', 'pem', '-o', file('pem')], options);
      const area = areaOfTemplate(createPublicKey(await readFile(file('pem'))));
      assert.deepEqual(area, (await readFile(file('pub'))).subarray(2));
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  it('is there for no other key', () => {
    for (const modulusLength of [1024, 3072])
      assert.equal(areaOfTemplate(generateKeyPairSync('rsa', { modulusLength }).publicKey), null);
    assert.equal(
      areaOfTemplate(generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 }).publicKey),
      null,
    );
    assert.equal(areaOfTemplate(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey), null);
    assert.equal(areaOfTemplate(generateKeyPairSync('ed25519').publicKey), null);
    assert.equal(areaOfTemplate(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey), null);
  });
});
