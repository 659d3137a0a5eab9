import { hash, X509Certificate } from 'node:crypto';
import { Rejection } from '../protocol/rejection.ts';
import { certifiedKey } from './certified-key.ts';
import { attribute, importKey, type PublicArea, parsePublicArea } from './tpm/public-area.ts';

export interface EndorsementClaim {
  /** TPMT_PUBLIC or TPM2B_PUBLIC */
  readonly publicArea: Buffer;
  /** DER, without the padding that some NV areas have. */
  readonly certificate: Buffer | null;
  /** DER, the issuer of the certificate first. */
  readonly chain: readonly Buffer[];
}

export interface Endorsement {
  /** SHA-256 of the TPMT_PUBLIC, hex: the record's key. */
  readonly digest: string;
  /** TPMT_PUBLIC */
  readonly publicArea: Buffer;
  /** `RSA-2048`, `P-384`, … */
  readonly kind: string;
  /** What the certificate says; nobody has vouched for its issuer here. */
  readonly certificate: {
    readonly subject: string;
    readonly issuer: string;
    /** RFC 3339, UTC. */
    readonly notBefore: string;
    readonly notAfter: string;
    /** SHA-256 of the DER, hex. */
    readonly digest: string;
  } | null;
}

/**
 * Checks that an endorsement key can carry an activation: a strong key that its TPM made, never lets go, and only
 * decrypts with; and that the certificate beside it is about this key. No chain is built here.
 * @throws Rejection `malformed`, `weak_key`, `ek_cert_key_mismatch`
 */
export function checkEndorsement({ publicArea, certificate, chain }: EndorsementClaim): Endorsement {
  const area = parsePublicArea(publicArea);
  checkAttributes(area);
  importKey(area.key);
  for (const der of chain) parseCertificate(der, 'ek.chain');
  return {
    digest: hash('sha256', area.bytes, 'hex'),
    publicArea: area.bytes,
    kind: area.key.type === 'rsa' ? `RSA-${area.key.bits}` : area.key.curve.name,
    certificate: certificate === null ? null : describe(certificate, area),
  };
}

const required = ['restricted', 'decrypt', 'fixedTPM', 'fixedParent', 'sensitiveDataOrigin'] as const;

function checkAttributes(area: PublicArea): void {
  const missing = required.filter((name) => (area.attributes & attribute[name]) === 0);
  if (missing.length > 0) throw noEndorsement(`lacks ${missing.join(', ')}`);
  if ((area.attributes & attribute.sign) !== 0) throw noEndorsement('may sign');
  if (area.symmetricBits === null) throw noEndorsement('has no symmetric algorithm');
}

function noEndorsement(text: string): Rejection {
  return new Rejection('malformed', `the endorsement key ${text}: it is no endorsement key`, {
    field: 'ek.publicArea',
  });
}

function describe(der: Buffer, area: PublicArea): Endorsement['certificate'] {
  const certificate = parseCertificate(der, 'ek.certificate');
  const { key } = area;
  const certified = certifiedKey(der);
  const expected = key.type === 'rsa' ? key.modulus : Buffer.concat([Buffer.of(4), key.x, key.y]);
  if (certified.type !== key.type || !certified.number.equals(expected))
    throw new Rejection('ek_cert_key_mismatch', 'the endorsement certificate is about another key', {
      field: 'ek.certificate',
    });
  return {
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
    digest: hash('sha256', der, 'hex'),
  };
}

function parseCertificate(der: Buffer, field: string): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (cause) {
    throw new Rejection('malformed', `${field} is not an X.509 certificate`, { field, cause });
  }
}

/** Names come in lines; some certificates have no subject at all. */
function oneLine(name: string | undefined): string {
  return (name ?? '').split('\n').join(', ');
}
