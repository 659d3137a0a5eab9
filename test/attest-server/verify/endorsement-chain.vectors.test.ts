import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { readRootsFolder, readTrustRoots } from '../../../attest-server/roots/read-roots.ts';
import { checkEndorsementChain, trustRoots } from '../../../attest-server/verify/endorsement-chain.ts';
import { tpmIdentityOf } from '../../../attest-server/verify/tpm-identity.ts';
import { parseCertificate } from '../../../attest-server/verify/x509/certificate.ts';

const recorded = join(import.meta.dirname, '../../../swtpm-fixtures/recorded');
const read = (file: string) => parseCertificate(readFileSync(join(recorded, file)), file);
const at = Date.parse('2026-11-25T00:00:00Z');
const builtin = readRootsFolder('builtin');
const trust = readTrustRoots(['builtin']);

describe('endorsement certificates of real TPMs', () => {
  const real: readonly (readonly [string, number, string, string, string])[] = [
    ['infineon', 3, 'IFX', 'SLB 9670 TPM2.0', 'discrete'],
    // Key identifier RSAES-OAEP, and sets in an order that DER forbids.
    ['nuvoton-oaep-set-order', 2, 'WEC', 'NPCT42x/NPCT50x', 'discrete'],
    ['nuvoton-ecc', 2, 'NTC', 'NPCT75x', 'discrete'],
    ['stm-year-9999', 3, 'STM', 'ST33HTPHAHE0', 'discrete'],
    ['google-vtpm-ecc', 3, 'GOOG', 'vTPM', 'virtual'],
  ];
  for (const [name, length, manufacturer, model, tpmClass] of real)
    it(`of ${manufacturer} (${name}) lead to a root that comes with the program`, () => {
      const certificate = read(`ek-certificates/${name}.der`);
      assert.equal(checkEndorsementChain(certificate, [], trust, at).length, length);
      const identity = tpmIdentityOf(certificate);
      assert.deepEqual(
        [identity.manufacturer, identity.model, identity.tpmClass],
        [manufacturer, model, tpmClass],
      );
    });

  const foreign: readonly (readonly [string, string, string])[] = [
    ['swtpm', 'IBM', 'virtual'],
    ['vmware', 'VMW', 'virtual'],
    ['tcg-test', 'TST0', 'unknown'],
  ];
  for (const [name, manufacturer, tpmClass] of foreign)
    it(`of ${manufacturer} (${name}) are not trusted, whatever they say (row 7)`, () => {
      const certificate = read(`ek-certificates/${name}.der`);
      assert.throws(() => checkEndorsementChain(certificate, [], trust, at), { code: 'ek_untrusted_root' });
      const identity = tpmIdentityOf(certificate);
      assert.deepEqual([identity.manufacturer, identity.tpmClass], [manufacturer, tpmClass]);
    });

  it('count as long as they are valid', () => {
    const certificate = read('ek-rsaes-oaep/ek.der');
    const before = Date.parse('2024-01-01T00:00:00Z');
    assert.equal(checkEndorsementChain(certificate, [], trust, before).length, 3);
    assert.throws(() => checkEndorsementChain(certificate, [], trust, at), { code: 'ek_untrusted_root' });
  });
});

describe('the authorities that come with the program', () => {
  const listed = (file: string) =>
    readFileSync(join(import.meta.dirname, '../../../attest-server/roots', file), 'utf8');

  it('are each in the table that says where they are from', () => {
    for (const [entries, table] of [
      [builtin.roots, listed('SOURCES.md')],
      [builtin.intermediates, listed('intermediates/SOURCES.md')],
    ] as const) {
      assert.ok(entries.length >= 50);
      for (const { file, certificate } of entries)
        assert.ok(table.includes(`\`${certificate.digest}\``) && table.includes(`\`${file}\``), file);
      assert.equal(new Set(entries.map(({ certificate }) => certificate.digest)).size, entries.length);
    }
  });

  it('are roots that they or another root signed, and authorities with a path to one of them', () => {
    for (const { certificate } of builtin.roots)
      assert.ok(
        builtin.roots.some((root) => certificate.x509.verify(root.certificate.x509.publicKey)),
        certificate.subject,
      );
    for (const { certificate } of builtin.intermediates)
      checkEndorsementChain(certificate, [], trust, Math.min(at, certificate.notAfter));
  });

  it('are none of a software TPM', () => {
    for (const { certificate } of [...builtin.roots, ...builtin.intermediates])
      assert.doesNotMatch(certificate.subject, /swtpm|software|IBM/i);
  });

  it('hold authorities that name a wrong serial of their issuer, though it signed them', () => {
    const issuersOf = (name: string) =>
      [...builtin.roots, ...builtin.intermediates].filter(
        ({ certificate }) => certificate.subjectName.key === name,
      );
    const wrong = builtin.intermediates.filter(({ certificate }) => {
      const [issuer] = issuersOf(certificate.issuerName.key);
      return issuer !== undefined && !certificate.x509.checkIssued(issuer.certificate.x509);
    });
    assert.ok(wrong.length > 0);
    for (const { certificate } of wrong)
      checkEndorsementChain(certificate, [], trust, Math.min(at, certificate.notAfter));
  });

  it('count as name and key: either encoding of a root of AMD vouches for what the other one does', () => {
    const twins = builtin.roots.filter(({ file }) => file.startsWith('AMD_AMDTPM_'));
    assert.equal(twins.length, 4);
    const below = builtin.intermediates.filter(({ certificate }) =>
      twins.some((twin) => twin.certificate.subjectName.key === certificate.issuerName.key),
    );
    assert.ok(below.length > 0);
    for (const key of new Set(twins.map(({ certificate }) => certificate.key.number.toString('hex')))) {
      const same = twins.filter(({ certificate }) => certificate.key.number.toString('hex') === key);
      assert.equal(same.length, 2);
      const vouchedFor = same.map((twin) =>
        below.filter(({ certificate }) => {
          try {
            checkEndorsementChain(certificate, [], trustRoots([twin.certificate], []), at);
            return true;
          } catch {
            return false;
          }
        }),
      );
      assert.deepEqual(vouchedFor[0], vouchedFor[1]);
    }
  });
});
