import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { checkEndorsement } from '../../../attest-server/verify/endorsement.ts';
import { parseCertificate } from '../../../attest-server/verify/x509/certificate.ts';
import {
  type AreaOptions,
  ekAttributes,
  madeArea,
  type SoftwareKey,
  sized,
  softwareKey,
  u16,
  u32,
} from './software-key.ts';

const oaep = readFileSync(join(import.meta.dirname, '../../../swtpm-fixtures/recorded/ek-rsaes-oaep/ek.der'));
const storage: AreaOptions = { attributes: ekAttributes, scheme: 0x0010, symmetric: '000600800043' };
const rsa = softwareKey('rsa2048', storage);
const p384 = softwareKey('p384', { ...storage, nameAlg: 0x000c, symmetric: '000601000043' });

const claim = (publicArea: Buffer, certificate: Buffer | null = null) => ({
  publicArea,
  certificate,
  chain: [],
});
const area = (key: SoftwareKey, change: AreaOptions) =>
  madeArea(key.kind, key.publicKey, { ...storage, ...change });

/** The public area of the TPM whose certificate this is: the certificate holds the modulus. */
function areaOf(modulus: Buffer): Buffer {
  const head = Buffer.from('0001000b000300b20000000600800043001008000000', 'hex');
  return Buffer.concat([head.subarray(0, 18), u16(2048), u32(0), sized(modulus)]);
}

describe('checkEndorsement', () => {
  it('takes an RSA and an ECC key without certificate, and names them by their public area', () => {
    for (const [key, kind] of [
      [rsa, 'RSA-2048'],
      [p384, 'P-384'],
    ] as const) {
      const endorsement = checkEndorsement(claim(sized(key.publicArea)));
      assert.equal(endorsement.kind, kind);
      assert.equal(endorsement.digest, createHash('sha256').update(key.publicArea).digest('hex'));
      assert.equal(endorsement.certificate, null);
    }
  });

  it('reads a certificate with the RSAES-OAEP key identifier and no subject', () => {
    const { certificate } = checkEndorsement(claim(areaOf(parseCertificate(oaep, 'oaep').key.number), oaep));
    assert.equal(certificate?.subject, '');
    assert.match(certificate?.issuer ?? '', /STMicroelectronics/);
    assert.equal(new Date(certificate?.notAfter ?? 0).toISOString(), '2024-09-14T00:00:00.000Z');
  });

  it('refuses a certificate about another key (row 6)', () => {
    for (const key of [rsa, p384])
      assert.throws(() => checkEndorsement(claim(key.publicArea, oaep)), { code: 'ek_cert_key_mismatch' });
  });

  it('refuses what is no certificate, is cut short, or is padded', () => {
    const publicArea = areaOf(parseCertificate(oaep, 'oaep').key.number);
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.alloc(64),
      oaep.subarray(0, 500),
      Buffer.concat([oaep, Buffer.of(0xff)]),
    ])
      assert.throws(() => checkEndorsement(claim(publicArea, bytes)), { code: 'malformed' });
    const chain = [oaep, Buffer.from('no certificate')];
    assert.throws(() => checkEndorsement({ publicArea, certificate: oaep, chain }), { code: 'malformed' });
  });

  it('refuses a key that is no endorsement key: one that signs, moves, or does what its user wants', () => {
    for (const attributes of [0x00040072, 0x000700b2, 0x000200b2, 0x000300b0, 0x000300a2, 0x00030092])
      assert.throws(() => checkEndorsement(claim(area(rsa, { attributes }))), { code: 'malformed' });
    assert.throws(() => checkEndorsement(claim(area(rsa, { symmetric: '0010' }))), { code: 'malformed' });
  });

  it('refuses weak keys (row 12)', () => {
    assert.throws(() => checkEndorsement(claim(area(rsa, { nameAlg: 0x0004 }))), { code: 'weak_key' });
    assert.throws(() => checkEndorsement(claim(area(p384, { curve: 0x0001 }))), { code: 'weak_key' });
    assert.throws(() => checkEndorsement(claim(area(rsa, { symmetric: '000300800043' }))), {
      code: 'weak_key',
    });
    const short = softwareKey('rsa1024', storage);
    assert.throws(() => checkEndorsement(claim(short.publicArea)), { code: 'weak_key' });
  });
});
