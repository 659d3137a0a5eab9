import { type DerReader, tag } from '../../formats/der.ts';
import { readName } from './name.ts';

/** The extensions of a certificate that are read. RFC 5280, section 4.2. */
export interface Extensions {
  /** Null if the certificate has none. */
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | null } | null;
  /** Whether keyCertSign is set; null if the certificate has no key usage. */
  readonly mayCertify: boolean | null;
  /** Extended key usages, each the hex of an object identifier's DER content; null if there is none. */
  readonly usages: readonly string[] | null;
  /** Attributes of the directory names among the alternative names. */
  readonly alternativeNames: ReadonlyMap<string, string>;
  /** Critical extensions that this program does not know, and so may not pass over. */
  readonly unknownCritical: readonly string[];
}

const oids = {
  keyUsage: '551d0f',
  alternativeNames: '551d11',
  basicConstraints: '551d13',
  usages: '551d25',
} as const;

/** Extensions that change nothing about a path here: policies, key identifiers, addresses (never followed), attributes. */
const harmless = new Set(['551d20', '551d23', '551d0e', '551d1f', '2b06010505070101', '551d09', '551d12']);

/** Reads the content of the extensions' SEQUENCE. */
export function readExtensions(reader: DerReader | null): Extensions {
  let basicConstraints: Extensions['basicConstraints'] = null;
  let mayCertify: boolean | null = null;
  let usages: string[] | null = null;
  let alternativeNames: ReadonlyMap<string, string> = new Map();
  const unknownCritical: string[] = [];
  const seen = new Set<string>();
  while (reader !== null && reader.peek() !== undefined) {
    const extension = reader.inside(tag.sequence, 'extension');
    const { content, offset } = extension.take(tag.oid, 'extnID');
    const oid = content.toString('hex');
    if (seen.has(oid)) throw extension.fault('extnID', `the extension ${oid} occurs twice`, offset);
    seen.add(oid);
    const isCritical =
      extension.peek() === tag.boolean && extension.take(tag.boolean, 'critical').content[0] !== 0;
    const value = extension.inside(tag.octetString, 'extnValue');
    extension.end('extension');
    if (oid === oids.basicConstraints) basicConstraints = readBasicConstraints(value);
    else if (oid === oids.keyUsage) mayCertify = readMayCertify(value);
    else if (oid === oids.usages) usages = readUsages(value);
    else if (oid === oids.alternativeNames) alternativeNames = readAlternativeNames(value);
    else if (isCritical && !harmless.has(oid)) unknownCritical.push(oid);
  }
  return { basicConstraints, mayCertify, usages, alternativeNames, unknownCritical };
}

function readBasicConstraints(value: DerReader): NonNullable<Extensions['basicConstraints']> {
  const fields = value.inside(tag.sequence, 'basicConstraints');
  const ca = fields.peek() === tag.boolean && fields.take(tag.boolean, 'cA').content[0] !== 0;
  const isLimited = fields.peek() === tag.integer;
  const pathLength = isLimited ? (fields.take(tag.integer, 'pathLenConstraint').content.at(-1) ?? 0) : null;
  fields.end('basicConstraints');
  return { ca, pathLength };
}

const keyCertSign = 0x04;

function readMayCertify(value: DerReader): boolean {
  const { content } = value.take(tag.bitString, 'keyUsage');
  return ((content[1] ?? 0) & keyCertSign) !== 0;
}

function readUsages(value: DerReader): string[] {
  const list = value.inside(tag.sequence, 'extKeyUsage');
  const found: string[] = [];
  while (list.peek() !== undefined) found.push(list.take(tag.oid, 'extKeyUsage').content.toString('hex'));
  return found;
}

const directoryName = 0xa4;

function readAlternativeNames(value: DerReader): ReadonlyMap<string, string> {
  const names = value.inside(tag.sequence, 'subjectAltName');
  const found = new Map<string, string>();
  while (names.peek() !== undefined) {
    const name = names.any('subjectAltName');
    if (name.tag !== directoryName) continue;
    const { attributes } = readName(
      names.within(name).inside(tag.sequence, 'directoryName'),
      'directoryName',
    );
    for (const [oid, text] of attributes) if (!found.has(oid)) found.set(oid, text);
  }
  return found;
}
