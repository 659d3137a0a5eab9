import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { type EndorsementKey, openTpm, run, type Tpm } from 'node-tpm2';
import { createRsaKey } from '../../../agent/node-tpm2/attestation-key.ts';
import { quote } from '../../../agent/node-tpm2/quote.ts';
import { connect } from '../../../agent/node-tpm2/tpm-connection.ts';
import { launchTpm, type SoftwareTpm } from '../../../swtpm-fixtures/tpm.ts';
import { checkActivation as activates, runTool } from './tool-credential.ts';

const rsaCertificate = 0x01c00002;
const lowEccCertificate = 0x01c0000a;
const highRsaCertificate = 0x01c00012;
const highEccCertificate = 0x01c00014;
/** Without `noda`, wrong guesses count. */
const guessable = 'sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth';

describe('the endorsement key', function () {
  this.timeout(60_000);
  let software: SoftwareTpm;
  let folder = '';
  let asMade = '';
  before(async () => {
    asMade = await mkdtemp(join(tmpdir(), 'node-tpm2-'));
    await launchTpm({ dir: asMade, isOff: true });
  });
  after(() => rm(asMade, { recursive: true }));
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'node-tpm2-'));
    const dir = join(folder, 'tpm');
    await cp(asMade, dir, { recursive: true });
    software = await launchTpm({ dir });
  });
  afterEach(async () => {
    await software.stop();
    await rm(folder, { recursive: true });
  });

  const options = () => ({ tcti: software.tcti, lockDir: join(folder, 'lock') });
  const tool = (program: string, ...args: string[]) => runTool(software, program, args);
  const removeCertificate = (index: number) => tool('tpm2_nvundefine', '-C', 'p', hex(index));

  /** Writes a certificate to NV as a manufacturer does, with padding behind it. */
  const writeNv = async (index: number, certificate: Buffer): Promise<void> => {
    const file = join(folder, 'nv');
    await writeFile(file, Buffer.concat([certificate, Buffer.alloc(40, 0xff)]));
    const attributes = 'ppwrite|writedefine|ppread|ownerread|authread|no_da|platformcreate';
    await tool(
      'tpm2_nvdefine',
      '-C',
      'p',
      '-s',
      String(certificate.length + 40),
      '-a',
      attributes,
      hex(index),
    );
    await tool('tpm2_nvwrite', '-C', 'p', hex(index), '-i', file);
  };

  /** Certifies a key in PEM by an authority of its own. */
  const certify = async (publicPem: string): Promise<Buffer> => {
    const [key, request, certificate] = ['ca.pem', 'request', 'certificate'].map((name) =>
      join(folder, name),
    );
    assert.ok(key && request && certificate);
    const bounds = { timeoutMs: 10_000, maxOutputBytes: 65_536 };
    const subject = ['-subj', '/CN=an endorsement key', '-keyout', key, '-noenc', '-out', request];
    await run(
      'openssl',
      ['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', ...subject],
      bounds,
    );
    const by = ['-signkey', key, '-force_pubkey', publicPem, '-outform', 'DER', '-out', certificate];
    await run('openssl', ['x509', '-req', '-in', request, ...by], bounds);
    return readFile(certificate);
  };

  const checkActivation = (tpm: Tpm, ek: EndorsementKey) => activates({ software, tpm, ek, folder });

  it('is ECC P-384 at its high-range handle where only that has a certificate', async () => {
    await removeCertificate(rsaCertificate);
    await using tpm = await openTpm(options());
    const ek = await tpm.readEndorsementKey();
    assert.equal(ek.kind, 'ecc');
    assert.equal(ek.handle, 0x81010016);
    assert.deepEqual(ek.certificate, software.ekCertificates.ecc);
    await checkActivation(tpm, ek);
  });

  it('is made from its template where the persistent handle is empty', async () => {
    await using tpm = await openTpm(options());
    const before = await tpm.readEndorsementKey();
    await tool('tpm2_evictcontrol', '-C', 'p', '-c', '0x81010001');
    // The object still knows the handle: it notices.
    await checkActivation(tpm, before);
    const after = await tpm.readEndorsementKey();
    assert.equal(after.handle, null);
    assert.deepEqual(after.publicArea, before.publicArea);
  });

  it('is made from its template where the handle holds another key', async () => {
    const other = join(folder, 'other.ctx');
    await tool('tpm2_evictcontrol', '-C', 'p', '-c', '0x81010001');
    await tool('tpm2_createprimary', '-C', 'o', '-G', 'ecc', '-c', other);
    await tool('tpm2_evictcontrol', '-C', 'o', '-c', other, '0x81010001');
    await tool('tpm2_flushcontext', '-t');
    await using tpm = await openTpm(options());
    const ek = await tpm.readEndorsementKey();
    assert.equal(ek.handle, null);
    assert.deepEqual(ek.certificate, software.ekCertificates.rsa);
    await checkActivation(tpm, ek);
  });

  it('is P-384 from its template where that handle is empty', async () => {
    await removeCertificate(rsaCertificate);
    await tool('tpm2_evictcontrol', '-C', 'p', '-c', '0x81010016');
    await using tpm = await openTpm(options());
    const ek = await tpm.readEndorsementKey();
    assert.equal(ek.handle, null);
    assert.deepEqual(ek.certificate, software.ekCertificates.ecc);
    await checkActivation(tpm, ek);
  });

  it('is the low-range P-256 key where NV holds its certificate', async () => {
    const pem = join(folder, 'ek.pem');
    await tool('tpm2_createek', '-G', 'ecc', '-c', join(folder, 'ek.ctx'), '-f', 'pem', '-u', pem);
    await tool('tpm2_flushcontext', '-t');
    const certificate = await certify(pem);
    await removeCertificate(rsaCertificate);
    await writeNv(lowEccCertificate, certificate);
    await using tpm = await openTpm(options());
    const ek = await tpm.readEndorsementKey();
    assert.equal(ek.kind, 'ecc');
    assert.deepEqual(ek.certificate, certificate);
    await checkActivation(tpm, ek);
  });

  for (const [title, index, algorithm] of [
    ['RSA-2048', highRsaCertificate, 'rsa2048:aes128cfb'],
    ['P-256', highEccCertificate, 'ecc256:aes128cfb'],
  ] as const)
    it(`is the high-range ${title} key where NV holds its certificate`, async () => {
      const [pem, policy] = [join(folder, 'ek.pem'), join(folder, 'policy')];
      const authPolicy = 'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0';
      await writeFile(policy, Buffer.from(authPolicy, 'hex'));
      const attributes =
        'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|adminwithpolicy|restricted|decrypt';
      const template = ['-C', 'e', '-g', 'sha256', '-G', algorithm, '-a', attributes, '-L', policy];
      await tool('tpm2_createprimary', ...template, '-c', join(folder, 'ek.ctx'), '-f', 'pem', '-o', pem);
      await tool('tpm2_flushcontext', '-t');
      const certificate = await certify(pem);
      await removeCertificate(rsaCertificate);
      await writeNv(index, certificate);
      await using tpm = await openTpm(options());
      const ek = await tpm.readEndorsementKey();
      assert.deepEqual(ek.certificate, certificate);
      await checkActivation(tpm, ek);
    });

  it('comes without certificate where NV holds none', async () => {
    await removeCertificate(rsaCertificate);
    await removeCertificate(0x01c00016);
    await using tpm = await openTpm(options());
    const ek = await tpm.readEndorsementKey();
    assert.equal(ek.certificate, null);
    assert.equal(ek.handle, 0x81010001);
    await checkActivation(tpm, ek);
  });

  it('comes with the chain that the manufacturer put in NV, in order', async () => {
    const [first, second] = [software.ekCertificates.ecc, software.ekCertificates.rsa];
    await writeNv(0x01c00101, second);
    await writeNv(0x01c00100, first);
    await using tpm = await openTpm(options());
    assert.deepEqual((await tpm.readEndorsementKey()).chain, [first, second]);
  });

  it('stays usable in lockout, since its use is by policy', async () => {
    const [key, file] = [join(folder, 'guessed.ctx'), join(folder, 'file')];
    await writeFile(file, 'x');
    await tool('tpm2_createprimary', '-C', 'o', '-G', 'ecc', '-a', guessable, '-p', 'right', '-c', key);
    const guess = () => tool('tpm2_sign', '-c', key, '-p', 'wrong', '-o', join(folder, 'signature'), file);
    for (let i = 0; i < 4; i++) {
      await assert.rejects(guess, { code: 'failed' });
      await tool('tpm2_flushcontext', '-t');
    }
    await assert.rejects(guess, { responseName: 'TPM_RC_LOCKOUT' });
    await tool('tpm2_flushcontext', '-t');
    await using tpm = await openTpm(options());
    await checkActivation(tpm, await tpm.readEndorsementKey());
    await tpm.quote({ qualifyingData: Buffer.alloc(32), selection: { sha256: [0] } });
  });

  it('has an RSA attestation key beside it where the TPM has no ECC, kept at its handle', async () => {
    const connection = await connect(options());
    const made = await connection.verb('make', () => createRsaKey(connection));
    const found = await connection.verb('find', () => createRsaKey(connection));
    assert.deepEqual(found, made);
    assert.equal(made.context, '0x81010100');
    const request = { qualifyingData: Buffer.alloc(32), selection: { sha256: [0] } };
    const { signature } = await connection.verb('quote', () => quote(connection, made, request));
    assert.equal(signature.readUInt32BE(0), 0x0014000b);
    await connection.close();
  });
});

function hex(number: number): string {
  return `0x${number.toString(16)}`;
}
