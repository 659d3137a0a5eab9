import { hash } from 'node:crypto';
import { ownBytes } from '../wire/own-bytes.ts';
import { Rejection } from '../wire/rejection.ts';
import { checkEndorsementTemplate } from './endorsement-template.ts';
import { importKey, type PublicArea, parsePublicArea } from './tpm/public-area.ts';
import { type Certificate, parseCertificate } from './x509/certificate.ts';

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
  /** SHA-256 of its SubjectPublicKeyInfo, of a point without y, hex: the key itself, whatever else its area says. */
  readonly keyDigest: string;
  /** TPMT_PUBLIC */
  readonly publicArea: Buffer;
  /** `RSA-2048`, `P-384`, … */
  readonly kind: string;
  /** It is about this key; nobody has vouched for its issuer here. */
  readonly certificate: Certificate | null;
  /** As sent with it, the issuer of the certificate first. */
  readonly chain: readonly Certificate[];
}

/**
 * Checks that an endorsement key is one of the TCG's: a strong key that its TPM made, never lets go, and only decrypts
 * with; and that the certificate beside it is about this key. `checkEndorsementChain` judges who issued it.
 * @throws Rejection `malformed`, `weak_key`, `ek_cert_key_mismatch`
 */
export function checkEndorsement({ publicArea, certificate, chain }: EndorsementClaim): Endorsement {
  const area = parsePublicArea(publicArea);
  checkEndorsementTemplate(area);
  return {
    digest: hash('sha256', area.bytes, 'hex'),
    keyDigest: digestOf(area),
    publicArea: ownBytes(area.bytes),
    kind: area.key.type === 'rsa' ? `RSA-${area.key.bits}` : area.key.curve.name,
    certificate: certificate === null ? null : certificateOf(area, certificate),
    chain: chain.map((der) => parseCertificate(der, 'ek.chain')),
  };
}

/**
 * Attack: a point with the other y for a second node. Its TPM activates by x alone (TPM 2.0 Part 1, annex C.6.1), so that it
 * opens what is encrypted for either: both are one key.
 */
function digestOf({ key }: PublicArea): string {
  const info = importKey(key).export({ type: 'spki', format: 'der' });
  // It ends with y.
  return hash('sha256', key.type === 'rsa' ? info : info.subarray(0, -key.y.length), 'hex');
}

function certificateOf({ key }: PublicArea, der: Buffer): Certificate {
  const certificate = parseCertificate(der, 'ek.certificate');
  const certified = certificate.key;
  const expected = key.type === 'rsa' ? key.modulus : Buffer.concat([Buffer.of(4), key.x, key.y]);
  if (certified.type === key.type && certified.number.equals(expected)) return certificate;
  throw new Rejection('ek_cert_key_mismatch', 'the endorsement certificate is about another key', {
    field: 'ek.certificate',
  });
}
