import type { KeyObject } from 'node:crypto';
import { Rejection } from '../wire/rejection.ts';
import type { PublicArea } from './tpm/public-area.ts';

/**
 * Whether a public area is that of an endorsement key as the TCG has it made, in all but the key itself. A certificate
 * vouches for the key alone and an activation for little more of the area, so that every other byte were the sender's.
 * @throws Rejection `malformed`
 */
export function checkEndorsementTemplate({ bytes }: Pick<PublicArea, 'bytes'>): void {
  if (templates.some((template) => bytes.subarray(0, template.length).equals(template))) return;
  throw new Rejection('malformed', 'the endorsement key is not made from a template of the TCG', {
    field: 'ek.publicArea',
  });
}

/**
 * TPMT_PUBLIC of this key where a TPM made it from L-1 (RSA with 2048 bits) or L-2 (P-256), the templates of the keys that
 * have no other name than "the RSA" or "the ECC endorsement key"; null for other keys.
 */
export function areaOfTemplate(key: KeyObject): Buffer | null {
  const { kty, n, e, crv, x, y } = key.export({ format: 'jwk' });
  const sized = (text = '') => {
    const bytes = Buffer.from(text, 'base64url');
    const size = Buffer.alloc(2);
    size.writeUInt16BE(bytes.length);
    return Buffer.concat([size, bytes]);
  };
  const [rsaTemplate, eccTemplate] = lowRange;
  if (kty === 'RSA' && e === 'AQAB' && sized(n).length === 2 + 256)
    return Buffer.concat([rsaTemplate, sized(n)]);
  if (kty === 'EC' && crv === 'P-256') return Buffer.concat([eccTemplate, sized(x), sized(y)]);
  return null;
}

/**
 * PolicyA: PolicySecret(TPM_RH_ENDORSEMENT). PolicyB: PolicyOR of that and of PolicyAuthorizeNV over the index of its
 * hash. TCG EK Credential Profile 2.5, annex B.6.
 */
const policyA = '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa';
const policyB = {
  sha256: 'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0',
  sha384: 'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12',
  sha512:
    'b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a4' +
    '29c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea',
} as const;

/** fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt; in the high range userWithAuth too. */
const [low, high] = ['000300b2', '000300f2'];
const [aes128, aes256] = ['000600800043', '000601000043'];
const nameAlgs = { sha256: '000b', sha384: '000c', sha512: '000d' } as const;

/** L-1 and L-2 of annex B.3. */
const lowRange = [
  rsa(`000b${low}0020${policyA}${aes128}`, 2048),
  ecc(`000b${low}0020${policyA}${aes128}`, '0003'),
] as const;

/** TPMT_PUBLIC up to `unique`. Annexes B.3 (L-1, L-2) and B.4 (H-1 to H-7, but for H-5, whose curve we do not know). */
const templates: readonly Buffer[] = [
  ...lowRange,
  rsa(inHighRange('sha256', aes128), 2048),
  ecc(inHighRange('sha256', aes128), '0003'),
  ecc(inHighRange('sha384', aes256), '0004'),
  ecc(inHighRange('sha512', aes256), '0005'),
  rsa(inHighRange('sha384', aes256), 3072),
  rsa(inHighRange('sha384', aes256), 4096),
];

function inHighRange(nameAlg: keyof typeof policyB, symmetric: string | undefined): string {
  const policy = policyB[nameAlg];
  const size = (policy.length / 2).toString(16).padStart(4, '0');
  return `${nameAlgs[nameAlg]}${high}${size}${policy}${symmetric}`;
}

/** No scheme; the exponent 0, which stands for 65537. */
function rsa(head: string, bits: number): Buffer {
  return Buffer.from(`0001${head}0010${bits.toString(16).padStart(4, '0')}00000000`, 'hex');
}

/** Neither scheme nor KDF. */
function ecc(head: string, curve: string): Buffer {
  return Buffer.from(`0023${head}0010${curve}0010`, 'hex');
}
