import { checkAttestationKey, checkTemplate } from '../../../attest-server/verify/attestation-key.ts';
import { makeCredential } from '../../../attest-server/verify/credential.ts';
import { checkEndorsement } from '../../../attest-server/verify/endorsement.ts';
import { areaOfTemplate } from '../../../attest-server/verify/endorsement-template.ts';
import { parseQuote } from '../../../attest-server/verify/tpm/attest.ts';
import { parsePublicArea } from '../../../attest-server/verify/tpm/public-area.ts';
import { parseSignature, type SigningScheme } from '../../../attest-server/verify/tpm/signature.ts';
import { parseCertificate, publicKeyOf } from '../../../attest-server/verify/x509/certificate.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { ofAttacks, recordings } from '../recordings.ts';
import { isBeyond, isRejection } from './refusals.ts';

const form = { kind: 'big-endian' } as const;

export const quote: FuzzedParser = {
  sources: ['attest-server/verify/tpm/attest.ts', 'attest-server/verify/tpm/cursor.ts'],
  form,
  most: 4096,
  seeds: () => [
    ...recordings('swtpm-fixtures/recorded/*/*.attest'),
    ...ofAttacks(({ quotes }) => quotes.map(({ attest }) => Buffer.from(attest, 'base64'))),
  ],
  parse: parseQuote,
  isDeclared: isRejection,
  isPastHeader: isBeyond(6),
};

/** What the keys of the recordings sign with, besides keys of other sizes. */
const schemes = (): readonly SigningScheme[] => [
  ...recordings('swtpm-fixtures/recorded/*/ak.pub').flatMap((area) => {
    try {
      return [checkAttestationKey(area)];
    } catch (error) {
      if (isRejection(error)) return [];
      throw error;
    }
  }),
];
let known: readonly SigningScheme[] | null = null;

export const signature: FuzzedParser = {
  sources: ['attest-server/verify/tpm/signature.ts', 'attest-server/verify/tpm/cursor.ts'],
  form,
  most: 4096,
  seeds: () => [
    ...recordings('swtpm-fixtures/recorded/*/*.sig'),
    ...ofAttacks(({ quotes }) => quotes.map((one) => Buffer.from(one.signature, 'base64'))),
  ],
  parse: (bytes) => {
    known ??= schemes();
    const refused: unknown[] = [];
    for (const scheme of known) {
      try {
        return parseSignature(bytes, scheme);
      } catch (error) {
        if (!isRejection(error)) throw error;
        refused.push(error);
      }
    }
    // The key for which it got furthest.
    throw refused.find(isBeyond(4)) ?? refused[0];
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(4),
};

export const publicArea: FuzzedParser = {
  sources: [
    'attest-server/verify/tpm/public-area.ts',
    'attest-server/verify/attestation-key.ts',
    'attest-server/verify/tpm/algorithms.ts',
  ],
  form,
  most: 4096,
  seeds: () => [
    ...recordings('swtpm-fixtures/recorded/*/*.pub'),
    ...ofAttacks(({ attestationKey }) => [Buffer.from(attestationKey, 'base64')]),
  ],
  parse: (bytes) => {
    parsePublicArea(bytes);
    checkTemplate(checkAttestationKey(bytes));
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(4),
};

/** The areas that the keys of recorded certificates have by their template, elliptic curves among them. */
function certifiedKeys(): readonly Buffer[] {
  return recordings('swtpm-fixtures/recorded/ek-certificates/*.der').flatMap((der) => {
    const key = publicKeyOf(parseCertificate(der, 'recorded'));
    return (key && areaOfTemplate(key)) ?? [];
  });
}

/** A hello's endorsement key, to which the server then encrypts a secret. */
export const endorsementKey: FuzzedParser = {
  sources: [
    'attest-server/verify/endorsement.ts',
    'attest-server/verify/endorsement-template.ts',
    'attest-server/verify/credential.ts',
    'attest-server/verify/tpm/public-area.ts',
  ],
  form,
  most: 4096,
  seeds: () => [...recordings('swtpm-fixtures/recorded/*/ek.pub'), ...certifiedKeys()],
  parse: (bytes) => {
    const { publicArea: area } = checkEndorsement({ publicArea: bytes, certificate: null, chain: [] });
    return makeCredential(area, Buffer.alloc(34, 1), Buffer.alloc(32, 2), (length) =>
      Buffer.alloc(length, 3),
    );
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(4),
};
