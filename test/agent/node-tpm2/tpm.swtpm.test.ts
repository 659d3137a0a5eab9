import assert from 'node:assert/strict';
import { createHash, createPublicKey, type KeyObject, verify, X509Certificate } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type AttestationKey, openTpm, type Quote, type Tpm } from 'node-tpm2';
import { launchTpm, type SoftwareTpm } from '../../../swtpm-fixtures/tpm.ts';
import { checkActivation, makeCredential, runTool } from './tool-credential.ts';

const selection = { sha1: [0, 7], sha256: [...Array(24).keys()], sha384: [1] };
const qualifyingData = createHash('sha256').update('qualifying').digest();
const attestationKeyAttributes = 0x00050472;

describe('a TPM', () => {
  let folder = '';
  let software: SoftwareTpm;
  let tpm: Tpm;
  before(async function () {
    this.timeout(60_000);
    folder = await mkdtemp(join(tmpdir(), 'node-tpm2-'));
    software = await launchTpm();
    tpm = await open();
  });
  after(async () => {
    await tpm.close();
    await software.stop();
    assert.deepEqual(await leftovers(), []);
    await rm(folder, { recursive: true });
  });

  const open = (env?: Record<string, string>): Promise<Tpm> =>
    openTpm({ tcti: software.tcti, lockDir: join(folder, 'lock'), runtimeDir: folder, ...(env && { env }) });
  const leftovers = async (): Promise<string[]> =>
    (await readdir(folder)).filter((name) => name.startsWith('node-tpm2-'));
  const tool = (program: string, ...args: string[]) => runTool(software, program, args);

  it('reports what it can', async () => {
    const capabilities = await tpm.readCapabilities();
    assert.equal(capabilities.manufacturer, 'IBM');
    assert.match(capabilities.firmwareVersion, /^[0-9a-f]{16}$/);
    assert.deepEqual(capabilities.banks, ['sha1', 'sha256', 'sha384']);
    assert.equal(capabilities.hasEcc, true);
  });

  it('gives random bytes, up to 32 a call', async () => {
    assert.equal((await tpm.random(32)).length, 32);
    assert.notDeepEqual(await tpm.random(16), await tpm.random(16));
    await assert.rejects(tpm.random(33), { code: 'bad_input' });
  });

  it('gives the RSA endorsement key with the certificate that its authority signed', async () => {
    const ek = await tpm.readEndorsementKey();
    assert.equal(ek.kind, 'rsa');
    assert.equal(ek.handle, 0x81010001);
    assert.ok(ek.certificate);
    assert.deepEqual(ek.certificate, software.ekCertificates.rsa);
    const { n } = new X509Certificate(ek.certificate).publicKey.export({ format: 'jwk' });
    assert.ok(n !== undefined && ek.publicArea.includes(Buffer.from(n, 'base64url')));
  });

  it('makes an attestation key with exactly the attributes of the template', async () => {
    const ak = await tpm.createAttestationKey();
    assert.equal(ak.publicArea.readUInt32BE(4), attestationKeyAttributes);
    assert.equal(ak.name, `000b${createHash('sha256').update(ak.publicArea).digest('hex')}`);
    assert.deepEqual(await tpm.createAttestationKey(), ak);
  });

  it('quotes PCRs so that the signature, the data, the values and the hierarchy can be checked', async () => {
    const ak = await tpm.createAttestationKey();
    checkQuote(await tpm.quote({ qualifyingData, selection }), ak);
  });

  it('gives the values alone in the same form', async () => {
    const { pcrs } = await tpm.quote({ qualifyingData, selection });
    assert.deepEqual(await tpm.readPcrs(selection), pcrs);
  });

  it('extends a PCR in all banks with one call', async () => {
    await tpm.extend(16, { sha1: Buffer.alloc(20, 1), sha256: Buffer.alloc(32, 2) });
    const { sha256 } = await tpm.readPcrs({ sha256: [16] });
    const expected = createHash('sha256').update(Buffer.alloc(32)).update(Buffer.alloc(32, 2)).digest();
    assert.deepEqual(sha256, expected);
    await assert.rejects(tpm.extend(16, { sha256: Buffer.alloc(20) }), { code: 'bad_input' });
  });

  it('answers eight quotes in a row without running out of handles', async function () {
    this.timeout(120_000);
    // It has places for three objects, and for three sessions that are loaded.
    for (let i = 0; i < 8; i++) await tpm.quote({ qualifyingData, selection: { sha256: [0] } });
  });

  it('frees what programs that died have left, and then does what was asked', async () => {
    // A verb answers before its own flush has ended: here all three places must be free.
    await tpm.flushTransient();
    const make = ['-C', 'o', '-c', join(folder, 'left.ctx')];
    for (let i = 0; i < 3; i++) await tool('tpm2_createprimary', ...make);
    await tpm.quote({ qualifyingData, selection: { sha256: [0] } });
    await tpm.flushTransient();
    assert.equal((await tool('tpm2_getcap', 'handles-transient')).length, 0);
  });

  it('activates a credential under its RSA endorsement key', async () => {
    await checkActivation({ software, tpm, ek: await tpm.readEndorsementKey(), folder });
  });

  it('leaves neither sessions nor objects after an activation', async () => {
    await tpm.random(1);
    assert.equal((await tool('tpm2_getcap', 'handles-loaded-session')).length, 0);
    assert.equal((await tool('tpm2_getcap', 'handles-saved-session')).length, 0);
    assert.equal((await tool('tpm2_getcap', 'handles-transient')).length, 0);
  });

  it('refuses a credential for another key, and a malformed one', async () => {
    const { credential, secret } = await makeCredential(
      { software, tpm, ek: await tpm.readEndorsementKey(), folder },
      Buffer.alloc(32, 7),
    );
    const last = credential.length - 1;
    credential[last] = (credential[last] ?? 0) ^ 1;
    await assert.rejects(tpm.activateCredential({ credential, secret }), {
      code: 'failed',
      tool: 'tpm2_activatecredential',
      responseName: 'TPM_RC_INTEGRITY',
    });
    const cut = credential.subarray(1);
    await assert.rejects(tpm.activateCredential({ credential: cut, secret }), { code: 'bad_input' });
    assert.equal((await tool('tpm2_getcap', 'handles-saved-session')).length, 0);
  });

  it('says that a race with an extend is worth another try', async () => {
    const said = "FATAL ERROR: PCR values failed to match quote's digest!";
    const programs = join(folder, 'bin');
    await mkdir(programs);
    await writeFile(join(programs, 'tpm2_quote'), `#!/bin/sh\necho "${said}" >&2\nexit 1\n`);
    await chmod(join(programs, 'tpm2_quote'), 0o700);
    await using raced = await open({ PATH: `${programs}:/usr/bin:/bin` });
    await assert.rejects(raced.quote({ qualifyingData, selection }), { code: 'pcrs_moved', retryable: true });
  });

  it('says which package is missing', async () => {
    await using bare = await open({ PATH: '/nonexistent' });
    await assert.rejects(bare.random(1), { code: 'missing_program' });
  });

  it('refuses what no TPM would take', async () => {
    const wide = Buffer.alloc(65);
    await assert.rejects(tpm.quote({ qualifyingData: wide, selection }), { code: 'bad_input' });
    await assert.rejects(tpm.quote({ qualifyingData, selection: {} }), { code: 'bad_input' });
    await assert.rejects(tpm.readPcrs({ sha512: [0] }), { code: 'bad_input' });
  });

  it('serves two programs side by side, one verb at a time', async function () {
    this.timeout(120_000);
    await using other = await open();
    const request = { qualifyingData, selection: { sha256: [0] } };
    const busy = [tpm, other, tpm, other].map(async (each) => {
      for (let i = 0; i < 2; i++) await each.quote(request);
    });
    await Promise.all(busy);
    assert.equal((await other.createAttestationKey()).name, (await tpm.createAttestationKey()).name);
  });
});

describe('the attestation key', () => {
  let software: SoftwareTpm;
  let folder = '';
  before(async function () {
    this.timeout(60_000);
    software = await launchTpm();
    folder = await mkdtemp(join(tmpdir(), 'node-tpm2-'));
  });
  after(async () => {
    await software.stop();
    await rm(folder, { recursive: true });
  });
  const open = () => openTpm({ tcti: software.tcti, lockDir: folder });

  it('has the same name after a restart, a power cycle, a reinstall and TPM2_Clear', async function () {
    this.timeout(120_000);
    await using first = await open();
    const { name } = await first.createAttestationKey();
    const ek = await first.readEndorsementKey();
    const again = async (): Promise<void> => {
      await using fresh = await openTpm({
        tcti: software.tcti,
        lockDir: join(folder, 'new'),
        runtimeDir: folder,
      });
      assert.equal((await fresh.createAttestationKey()).name, name);
      assert.deepEqual((await fresh.readEndorsementKey()).publicArea, ek.publicArea);
    };
    await again();
    await software.powerCycle({ orderly: true });
    await again();
    await runTool(software, 'tpm2_clear', ['-c', 'l']);
    await again();
  });

  it('is made again where a reset or TPM2_Clear made the saved context stale', async function () {
    this.timeout(120_000);
    await using tpm = await open();
    const ak = await tpm.createAttestationKey();
    await software.powerCycle();
    checkQuote(await tpm.quote({ qualifyingData, selection }), ak);
    await runTool(software, 'tpm2_clear', ['-c', 'l']);
    checkQuote(await tpm.quote({ qualifyingData, selection }), ak);
  });

  it('still quotes and activates after four power losses in a row', async function () {
    this.timeout(120_000);
    await using tpm = await open();
    const ak = await tpm.createAttestationKey();
    // Three of them would lock a key without `noda`.
    for (let i = 0; i < 4; i++) {
      await tpm.quote({ qualifyingData, selection });
      await software.powerCycle();
    }
    checkQuote(await tpm.quote({ qualifyingData, selection }), ak);
    await checkActivation({ software, tpm, ek: await tpm.readEndorsementKey(), folder });
  });

  it('says that the TPM is gone, and works again when it is back', async function () {
    this.timeout(120_000);
    await using tpm = await open();
    await tpm.createAttestationKey();
    await software.kill();
    await assert.rejects(tpm.quote({ qualifyingData, selection }), { code: 'no_tpm' });
    await software.powerCycle();
    await tpm.quote({ qualifyingData, selection });
  });
});

function checkQuote(quote: Quote, ak: AttestationKey): void {
  const { attest, signature, pcrs } = quote;
  assert.equal(signature.readUInt32BE(0), 0x0018000b);
  const r = sized(signature, 4);
  const s = sized(signature, 4 + 2 + r.length);
  const raw = Buffer.concat([Buffer.alloc(32 - r.length), r, Buffer.alloc(32 - s.length), s]);
  assert.ok(verify('sha256', attest, { key: publicKey(ak), dsaEncoding: 'ieee-p1363' }, raw));
  const signer = sized(attest, 6);
  const hierarchy = Buffer.concat([Buffer.from('4000000b', 'hex'), Buffer.from(ak.name, 'hex')]);
  assert.equal(signer.toString('hex'), `000b${createHash('sha256').update(hierarchy).digest('hex')}`);
  assert.deepEqual(sized(attest, 6 + 2 + signer.length), qualifyingData);
  const values = Buffer.concat([pcrs.sha1, pcrs.sha256, pcrs.sha384].filter((bank) => bank !== undefined));
  assert.equal(values.length, 2 * 20 + 24 * 32 + 48);
  assert.deepEqual(attest.subarray(-32), createHash('sha256').update(values).digest());
}

function publicKey({ publicArea }: AttestationKey): KeyObject {
  const [x, y] = [publicArea.subarray(-66, -34), publicArea.subarray(-32)].map((part) =>
    part.toString('base64url'),
  );
  assert.ok(x && y);
  return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
}

function sized(bytes: Buffer, at: number): Buffer {
  return bytes.subarray(at + 2, at + 2 + bytes.readUInt16BE(at));
}
