import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { readTrustRoots } from '../../../attest-server/roots/read-roots.ts';
import { checkEndorsementChain } from '../../../attest-server/verify/endorsement-chain.ts';
import { tpmIdentityOf } from '../../../attest-server/verify/tpm-identity.ts';
import { parseCertificate } from '../../../attest-server/verify/x509/certificate.ts';
import { trials } from '../../trials.ts';
import { rejectionOf } from './rejection-of.ts';

const recorded = join(import.meta.dirname, '../../../swtpm-fixtures/recorded');
const real = ['infineon', 'nuvoton-oaep-set-order', 'nuvoton-ecc', 'google-vtpm-ecc', 'swtpm'].map((name) =>
  readFileSync(join(recorded, `ek-certificates/${name}.der`)),
);
const trust = readTrustRoots(['builtin']);
const at = Date.parse('2026-11-25T00:00:00Z');

describe('any DER', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 64 }).map((content) => Buffer.from(content)),
    fc
      .tuple(
        fc.constantFrom(...real),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
        fc.nat(2000),
      )
      .map(([der, changes, cut]) => {
        const changed = Buffer.from(der.subarray(0, cut > der.length ? undefined : cut));
        for (const [position, value] of changes)
          if (changed.length > 0) changed[position % changed.length] = value;
        return changed;
      }),
  );

  it('gives a certificate, or a Rejection that says where the reading stopped', () => {
    fc.assert(
      fc.property(bytes, (der) => {
        const rejection = rejectionOf(() => parseCertificate(der, 'certificate'));
        if (rejection === null) return;
        assert.equal(rejection.code, 'malformed');
        assert.ok(rejection.offset !== undefined && rejection.offset <= der.length);
      }),
      { numRuns: trials(300) },
    );
  });

  it('gives a path or a Rejection, and never a path once a byte is changed', () => {
    fc.assert(
      fc.property(bytes, bytes, (leaf, other) => {
        const rejection = rejectionOf(() => {
          const certificate = parseCertificate(leaf, 'certificate');
          tpmIdentityOf(certificate);
          checkEndorsementChain(certificate, [parseCertificate(other, 'certificate')], trust, at);
        });
        if (rejection === null) assert.ok(real.some((der) => der.equals(leaf)));
      }),
      { numRuns: trials(100) },
    );
  });
});
