import { checkEndorsementChain, trustRoots } from '../../../attest-server/verify/endorsement-chain.ts';
import { parseCertificate, publicKeyOf } from '../../../attest-server/verify/x509/certificate.ts';
import { certificateSubject } from '../../../attest-server/verify/x509/certificate-subject.ts';
import { parseCertificates } from '../../../attest-server/wire/certificates.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { recordings } from '../recordings.ts';
import { isBeyond, isRejection } from './refusals.ts';

const derOf = (pem: Buffer): Buffer =>
  Buffer.from(pem.toString('latin1').replace(/-----[^-]+-----/g, ''), 'base64');
const recorded = () => recordings('swtpm-fixtures/recorded/ek-certificates/*.der');
const roots = () => recordings('attest-server/roots/*.pem').map(derOf);
const intermediates = () => recordings('attest-server/roots/intermediates/*.pem').map(derOf);

const sources = [
  ...['certificate', 'certificate-subject', 'extensions', 'name'].map(
    (name) => `attest-server/verify/x509/${name}.ts`,
  ),
  'attest-server/formats/der.ts',
];

export const certificate: FuzzedParser = {
  sources: [...sources, 'attest-server/verify/certified-key.ts'],
  form: { kind: 'der' },
  most: 16 * 1024,
  seeds: () => [...recorded(), ...roots()],
  parse: (bytes) => {
    certificateSubject(bytes);
    return publicKeyOf(parseCertificate(bytes, 'certificate'));
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(8),
};

let trusted: ReturnType<typeof trustRoots> | null = null;

/** Below the authorities that are shipped; the certificate is sent as its own issuer, too. */
export const endorsementChain: FuzzedParser = {
  sources: ['attest-server/verify/endorsement-chain.ts', ...sources],
  form: { kind: 'der' },
  most: 16 * 1024,
  seeds: () => [...recorded(), ...intermediates()],
  parse: (bytes) => {
    const parsed = (der: Buffer) => parseCertificate(der, 'root');
    trusted ??= trustRoots(roots().map(parsed), intermediates().map(parsed));
    const own = parseCertificate(bytes, 'certificate');
    return checkEndorsementChain(own, [own], trusted, moment);
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(8),
};

/** When the recordings were valid, milliseconds since the epoch. */
const moment = Date.parse('2024-01-01T00:00:00Z');

/** A file of authorities, as agents and operators give it. */
export const pem: FuzzedParser = {
  sources: ['attest-server/wire/certificates.ts'],
  form: { kind: 'text', words: ['-----BEGIN CERTIFICATE-----', '-----END CERTIFICATE-----'] },
  most: 16 * 1024,
  seeds: () => recordings('attest-server/roots/*.pem').slice(0, 8),
  parse: (bytes) => parseCertificates(bytes.toString('latin1')),
  // OpenSSL's own word on what is between the lines has no class.
  isDeclared: (error) => error instanceof Error && Object.getPrototypeOf(error) === Error.prototype,
  isPastHeader: () => true,
};
