import { Rejection } from '../protocol/rejection.ts';
import { Cursor } from './tpm/cursor.ts';

/** The key that a certificate is about: an RSA modulus without leading zeros, or an uncompressed point. */
export interface CertifiedKey {
  readonly type: 'rsa' | 'ecc' | 'other';
  readonly number: Buffer;
}

const tag = { integer: 0x02, bitString: 0x03, oid: 0x06, sequence: 0x30, version: 0xa0 } as const;

/** rsaEncryption, and id-RSAES-OAEP, which some vendors write and OpenSSL does not import. RFC 4055. */
const rsaKeys = ['2a864886f70d010101', '2a864886f70d010107'];
const eccKey = '2a8648ce3d0201';

/**
 * Reads the subject's key out of a certificate's DER. RFC 5280, section 4.1.
 * @throws Rejection `malformed`
 */
export function certifiedKey(der: Buffer): CertifiedKey {
  const outer = new Cursor(der);
  const certificate = element(outer, tag.sequence, 'certificate');
  outer.end('certificate');
  const fields = new Cursor(element(new Cursor(certificate), tag.sequence, 'tbsCertificate'));
  if (fields.peek() === tag.version) element(fields, tag.version, 'version');
  element(fields, tag.integer, 'serialNumber');
  for (const name of ['signature', 'issuer', 'validity', 'subject']) element(fields, tag.sequence, name);
  const info = new Cursor(element(fields, tag.sequence, 'subjectPublicKeyInfo'));
  const algorithm = new Cursor(element(info, tag.sequence, 'algorithm'));
  const oid = element(algorithm, tag.oid, 'algorithm').toString('hex');
  const key = new Cursor(element(info, tag.bitString, 'subjectPublicKey'));
  if (key.u8('subjectPublicKey.unused') !== 0)
    throw key.fault('subjectPublicKey', 'the key is no whole bytes');
  if (oid === eccKey) return { type: 'ecc', number: key.rest() };
  if (!rsaKeys.includes(oid)) return { type: 'other', number: key.rest() };
  const numbers = new Cursor(element(key, tag.sequence, 'subjectPublicKey'));
  const modulus = element(numbers, tag.integer, 'modulus');
  return { type: 'rsa', number: modulus[0] === 0 ? modulus.subarray(1) : modulus };
}

/** The content of the next DER element, which must have this tag. */
function element(cursor: Cursor, expected: number, field: string): Buffer {
  const at = cursor.offset;
  const found = cursor.u8(field);
  if (found !== expected) throw cursor.fault(field, `${field} has DER tag ${found}, not ${expected}`, at);
  const first = cursor.u8(field);
  if (first < 0x80) return cursor.bytes(first, field);
  if (first !== 0x81 && first !== 0x82)
    throw new Rejection('malformed', `${field} has a DER length of another form`, { field, offset: at });
  return cursor.bytes(first === 0x81 ? cursor.u8(field) : cursor.u16(field), field);
}
