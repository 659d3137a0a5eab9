import { DerReader, tag } from '../../formats/der.ts';
import { Rejection } from '../../wire/rejection.ts';
import { shownText } from '../tpm/shown-text.ts';
import { readName } from './name.ts';

/** The short names of attributes, for a person; object identifiers as hex of their DER content. RFC 5280, section 4.1.2.4. */
const shortNames: Readonly<Record<string, string>> = {
  '550403': 'CN',
  '550406': 'C',
  '550407': 'L',
  '550408': 'ST',
  '55040a': 'O',
  '55040b': 'OU',
  '2a864886f70d010901': 'emailAddress',
};

/**
 * A certificate's subject as one line, `C=US, O=…, CN=…`, fit for a terminal; null if the bytes are no certificate. It reads no more
 * than it needs, since certificates of firmware are as odd as their makers like.
 */
export function certificateSubject(der: Buffer): string | null {
  try {
    const fields = new DerReader(der).inside(tag.sequence, 'certificate').inside(tag.sequence, 'tbs');
    if (fields.peek() === 0xa0) fields.any('version');
    fields.take(tag.integer, 'serialNumber');
    for (const field of ['signature', 'issuer', 'validity']) fields.take(tag.sequence, field);
    const { attributes } = readName(fields.inside(tag.sequence, 'subject'), 'subject');
    const named = [...attributes].map(([oid, value]) => `${shortNames[oid] ?? `oid.${oid}`}=${value}`);
    return named.length === 0 ? null : shownText(named.join(', '));
  } catch (error) {
    if (error instanceof Rejection) return null;
    throw error;
  }
}
