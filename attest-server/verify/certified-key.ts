import { type DerReader, tag } from '../formats/der.ts';

/** The key that a certificate is about: an RSA modulus without leading zeros, or an uncompressed point. */
export interface CertifiedKey {
  readonly type: 'rsa' | 'ecc' | 'other';
  readonly number: Buffer;
}

/** rsaEncryption, and id-RSAES-OAEP, which some vendors write and OpenSSL does not import. RFC 4055. */
const rsaKeys = ['2a864886f70d010101', '2a864886f70d010107'];
const eccKey = '2a8648ce3d0201';

/**
 * Reads the content of a SubjectPublicKeyInfo. RFC 5280, section 4.1.
 * @throws Rejection `malformed`
 */
export function readCertifiedKey(info: DerReader): CertifiedKey {
  const oid = info.inside(tag.sequence, 'algorithm').take(tag.oid, 'algorithm').content.toString('hex');
  const bits = info.take(tag.bitString, 'subjectPublicKey');
  if (bits.content[0] !== 0) throw info.fault('subjectPublicKey', 'the key is no whole bytes', bits.offset);
  const number = bits.content.subarray(1);
  if (oid === eccKey) return { type: 'ecc', number };
  if (!rsaKeys.includes(oid)) return { type: 'other', number };
  const inner = info.within({ ...bits, start: bits.start + 1, content: number });
  const modulus = inner.inside(tag.sequence, 'subjectPublicKey').take(tag.integer, 'modulus').content;
  return { type: 'rsa', number: modulus[0] === 0 ? modulus.subarray(1) : modulus };
}
