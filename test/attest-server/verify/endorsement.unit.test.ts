import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { highRangePolicies } from '../../../agent/node-tpm2/ek-profile.ts';
import { checkEndorsement } from '../../../attest-server/verify/endorsement.ts';
import { parseCertificate } from '../../../attest-server/verify/x509/certificate.ts';
import {
  type AreaOptions,
  ekAttributes,
  ekTemplate,
  madeArea,
  type SoftwareKey,
  sized,
  softwareKey,
  u16,
  u32,
} from './software-key.ts';

const oaep = readFileSync(join(import.meta.dirname, '../../../swtpm-fixtures/recorded/ek-rsaes-oaep/ek.der'));
const rsa = softwareKey('rsa2048', ekTemplate);
const p384 = softwareKey('p384', inHighRange('sha384', 0x000c, '000601000043'));

/** What the agent has its TPM make in the high range. */
function inHighRange(nameAlg: 'sha256' | 'sha384' | 'sha512', id: number, symmetric: string): AreaOptions {
  const { b: policy } = highRangePolicies[nameAlg];
  return { ...ekTemplate, attributes: 0x000300f2, nameAlg: id, policy, symmetric };
}

const claim = (publicArea: Buffer, certificate: Buffer | null = null) => ({
  publicArea,
  certificate,
  chain: [],
});
const area = (key: SoftwareKey, change: AreaOptions) =>
  madeArea(key.kind, key.publicKey, { ...ekTemplate, ...change });

/** The public area of the TPM whose certificate this is: the certificate holds the modulus. */
function areaOf(modulus: Buffer): Buffer {
  const head = `0001000b000300b20020${ekTemplate.policy}0006008000430010`;
  return Buffer.concat([Buffer.from(head, 'hex'), u16(2048), u32(0), sized(modulus)]);
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

  it('takes each template of the TCG that we know', () => {
    const p256 = softwareKey('p256', ekTemplate);
    const high = inHighRange('sha256', 0x000b, '000600800043');
    const areas = [
      rsa.publicArea,
      p256.publicArea,
      area(rsa, high),
      area(p256, high),
      p384.publicArea,
      softwareKey('p521', inHighRange('sha512', 0x000d, '000601000043')).publicArea,
      softwareKey('rsa3072', inHighRange('sha384', 0x000c, '000601000043')).publicArea,
      softwareKey('rsa4096', inHighRange('sha384', 0x000c, '000601000043')).publicArea,
    ];
    const kinds = areas.map((each) => checkEndorsement(claim(each)).kind);
    assert.deepEqual(kinds, [
      ...['RSA-2048', 'P-256', 'RSA-2048', 'P-256', 'P-384', 'P-521'],
      ...['RSA-3072', 'RSA-4096'],
    ]);
  });

  it('takes no other form of a key (row 116)', () => {
    const high = inHighRange('sha256', 0x000b, '000600800043');
    const forms: readonly AreaOptions[] = [
      { exponent: 65537 },
      ...Array.from({ length: 32 }, (_, bit) => ({ attributes: ekAttributes ^ (1 << bit) })),
      { policy: '' },
      { policy: ekTemplate.policy?.replace('8', '9') ?? '' },
      { policy: high.policy ?? '' },
      { attributes: high.attributes ?? 0 },
      { nameAlg: 0x000c },
      { symmetric: '000601000043' },
      { scheme: 0x0017, schemeHash: 0x000b },
    ];
    for (const form of forms) {
      const other = area(rsa, { ...form, attributes: (form.attributes ?? ekAttributes) >>> 0 });
      assert.throws(() => checkEndorsement(claim(other)), { code: 'malformed' }, JSON.stringify(form));
    }
  });

  it('refuses weak keys (row 12)', () => {
    assert.throws(() => checkEndorsement(claim(area(rsa, { nameAlg: 0x0004 }))), { code: 'weak_key' });
    assert.throws(() => checkEndorsement(claim(area(p384, { curve: 0x0001 }))), { code: 'weak_key' });
    assert.throws(() => checkEndorsement(claim(area(rsa, { symmetric: '000300800043' }))), {
      code: 'weak_key',
    });
    const short = softwareKey('rsa1024', ekTemplate);
    assert.throws(() => checkEndorsement(claim(short.publicArea)), { code: 'weak_key' });
  });
});
