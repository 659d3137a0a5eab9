/** Parsers of certificates, one for each structure. */

import { hash, type KeyObject, X509Certificate } from 'node:crypto';
import { DerReader, tag } from '../../formats/der.ts';
import { Rejection } from '../../wire/rejection.ts';
import { type CertifiedKey, readCertifiedKey } from '../certified-key.ts';
import { type Extensions, readExtensions } from './extensions.ts';
import { type DistinguishedName, readName } from './name.ts';

/** A certificate as it says itself: nothing in it is vouched for. RFC 5280, section 4.1. */
export interface Certificate {
  /** SHA-256 of the DER, hex. */
  readonly digest: string;
  readonly x509: X509Certificate;
  /** Names as one line of text; some certificates have an empty subject. */
  readonly issuer: string;
  readonly subject: string;
  readonly issuerName: DistinguishedName;
  readonly subjectName: DistinguishedName;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly key: CertifiedKey;
  readonly extensions: Extensions;
  /** Object identifier of the signature's algorithm, hex of its DER content. */
  readonly signatureAlgorithm: string;
}

/** Context-specific tags of a TBSCertificate. */
const context = { version: 0xa0, issuerId: 0x81, subjectId: 0x82, extensions: 0xa3 } as const;

/**
 * Reads a certificate, in a way that lives with what TPM makers write: sets in a wrong order, the key identifier of
 * RSAES-OAEP, an empty subject, the year 9999.
 * @param field what the certificate is, for the error
 * @throws Rejection `malformed`, with the offset in the DER if the reading stopped
 */
export function parseCertificate(der: Buffer, field: string): Certificate {
  const outer = new DerReader(der);
  const certificate = outer.inside(tag.sequence, field);
  outer.end(field);
  const fields = certificate.inside(tag.sequence, 'tbsCertificate');
  if (fields.peek() === context.version) fields.any('version');
  fields.take(tag.integer, 'serialNumber');
  fields.take(tag.sequence, 'signature');
  const issuerName = readName(fields.inside(tag.sequence, 'issuer'), 'issuer');
  const validity = fields.inside(tag.sequence, 'validity');
  const [notBefore, notAfter] = [readTime(validity, 'notBefore'), readTime(validity, 'notAfter')];
  validity.end('validity');
  const subjectName = readName(fields.inside(tag.sequence, 'subject'), 'subject');
  const key = readCertifiedKey(fields.inside(tag.sequence, 'subjectPublicKeyInfo'));
  for (const id of [context.issuerId, context.subjectId])
    if (fields.peek() === id) fields.any('uniqueIdentifier');
  const list =
    fields.peek() === context.extensions
      ? fields.inside(context.extensions, 'extensions').inside(tag.sequence, 'extensions')
      : null;
  const extensions = readExtensions(list);
  fields.end('tbsCertificate');
  const algorithm = certificate
    .inside(tag.sequence, 'signatureAlgorithm')
    .take(tag.oid, 'signatureAlgorithm');
  certificate.take(tag.bitString, 'signature');
  certificate.end('signature');
  const x509 = openX509(der, field);
  return {
    digest: hash('sha256', der, 'hex'),
    x509,
    issuer: oneLine(x509.issuer),
    subject: oneLine(x509.subject),
    issuerName,
    subjectName,
    notBefore,
    notAfter,
    key,
    extensions,
    signatureAlgorithm: algorithm.content.toString('hex'),
  };
}

/** The subject's key, where OpenSSL can use it: not so for RSAES-OAEP and for curves that it does not know. */
export function publicKeyOf({ x509 }: Certificate): KeyObject | null {
  try {
    return x509.publicKey;
  } catch {
    return null;
  }
}

function openX509(der: Buffer, field: string): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (cause) {
    throw new Rejection('malformed', `${field} is not an X.509 certificate`, { field, offset: 0, cause });
  }
}

function oneLine(name: string | undefined): string {
  return (name ?? '').split('\n').join(', ');
}

const utcTime = 0x17;
const generalizedTime = 0x18;

/** UTCTime means 1950 to 2049. RFC 5280, section 4.1.2.5. */
function readTime(reader: DerReader, field: string): number {
  const { tag: type, content, offset } = reader.any(field);
  const text = content.toString('latin1');
  const parts = /^(\d{2}|\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?Z$/.exec(text);
  const [, year = '', month = '', day = '', hour = '', minute = '', second = '00'] = parts ?? [];
  const length = type === utcTime ? 2 : type === generalizedTime ? 4 : 0;
  const full = year.length === 2 ? `${Number(year) < 50 ? '20' : '19'}${year}` : year;
  const moment = Date.parse(`${full}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (year.length !== length || Number.isNaN(moment))
    throw reader.fault(field, `${field} is no moment`, offset);
  return moment;
}
