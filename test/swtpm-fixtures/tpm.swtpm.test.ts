import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { launchTpm, type SoftwareTpm } from '../../swtpm-fixtures/tpm.ts';

const bounds = { timeoutMs: 10_000, maxOutputBytes: 65_536 };

describe('a software TPM', () => {
  let tpm: SoftwareTpm;
  before(async () => {
    tpm = await launchTpm();
  });
  after(() => tpm.stop());

  it('raises resetCount by exactly one with each of three power losses in a row', async () => {
    const first = await resetCount(tpm);
    for (const rises of [1, 2, 3]) {
      await tpm.powerCycle();
      assert.equal(await resetCount(tpm), first + rises);
    }
  });

  it('raises resetCount by exactly one when it was shut down in order', async () => {
    const first = await resetCount(tpm);
    await tpm.powerCycle({ orderly: true });
    assert.equal(await resetCount(tpm), first + 1);
  });

  it('forgets its PCRs and keeps its endorsement keys over a power loss', async () => {
    const commands = await tpm.commands();
    await commands.extend(4, { sha256: 'ab'.repeat(32) });
    assert.notEqual(await commands.readPcr('sha256', 4), '00'.repeat(32));
    await commands.close();
    await tpm.powerCycle();
    const again = await tpm.commands();
    assert.equal(await again.readPcr('sha256', 4), '00'.repeat(32));
    await again.close();
    const { stdout } = await run('tpm2_getcap', ['-T', tpm.tcti, 'handles-persistent'], bounds);
    assert.deepEqual(stdout.toString().match(/0x[0-9A-F]+/g), ['0x81010001', '0x81010016']);
  });

  it('shows startup locality 3 in PCR 0 of every bank', async () => {
    await tpm.powerCycle({ startupLocality: 3 });
    const commands = await tpm.commands();
    for (const [bank, size] of [
      ['sha1', 20],
      ['sha256', 32],
      ['sha384', 48],
    ] as const) {
      assert.equal(await commands.readPcr(bank, 0), `${'00'.repeat(size - 1)}03`);
    }
    assert.equal(await commands.readPcr('sha512', 0), null);
    await commands.close();
  });

  it('has endorsement certificates that its authority signed, for RSA-2048 and P-384', () => {
    const issuer = new X509Certificate(tpm.authority.issuerCertificate);
    const root = new X509Certificate(tpm.authority.rootCertificate);
    assert.ok(issuer.verify(root.publicKey));
    const rsa = new X509Certificate(tpm.ekCertificates.rsa);
    const ecc = new X509Certificate(tpm.ekCertificates.ecc);
    assert.ok(rsa.verify(issuer.publicKey));
    assert.ok(ecc.verify(issuer.publicKey));
    assert.equal(rsa.publicKey.asymmetricKeyDetails?.modulusLength, 2048);
    assert.equal(ecc.publicKey.asymmetricKeyDetails?.namedCurve, 'secp384r1');
  });
});

describe('software TPMs side by side', () => {
  it('have sockets, keys and PCRs of their own', async () => {
    const tpms = await Promise.all(Array.from({ length: 4 }, () => launchTpm()));
    try {
      assert.equal(new Set(tpms.map(({ tcti }) => tcti)).size, tpms.length);
      assert.equal(
        new Set(tpms.map(({ ekCertificates }) => ekCertificates.rsa.toString('hex'))).size,
        tpms.length,
      );
      const [first, second] = tpms;
      assert.ok(first && second);
      const commands = await first.commands();
      await commands.extend(7, { sha1: 'cd'.repeat(20) });
      await commands.close();
      const others = await second.commands();
      assert.equal(await others.readPcr('sha1', 7), '00'.repeat(20));
      await others.close();
    } finally {
      await Promise.all(tpms.map((tpm) => tpm.stop()));
    }
  });
});

describe('the state of a software TPM', () => {
  it('is kept in a folder that was given, also where its path is too long for a socket', async () => {
    const base = await mkdtemp(join(tmpdir(), 'assay-test-'));
    const dir = join(base, 'long'.repeat(25));
    try {
      const tpm = await launchTpm({ dir });
      const certificate = tpm.ekCertificates.rsa;
      const count = await resetCount(tpm);
      await tpm.stop();
      const again = await launchTpm({ dir });
      assert.deepEqual(again.ekCertificates.rsa, certificate);
      assert.equal(await resetCount(again), count + 1);
      await again.stop();
    } finally {
      await rm(base, { recursive: true, force: true });
    }
  });

  it('is removed on stop where no folder was given', async () => {
    const tpm = await launchTpm();
    assert.ok(existsSync(tpm.dir));
    await tpm.stop();
    assert.ok(!existsSync(tpm.dir));
  });
});

async function resetCount(tpm: SoftwareTpm): Promise<number> {
  const commands = await tpm.commands();
  const clock = await commands.readClock();
  await commands.close();
  return clock.resetCount;
}
