import { loadOption } from './load-option.ts';
import { byteText } from './shown-text.ts';
import { signatureDataEntry } from './signature-data.ts';
import { type SignatureEntry, signatureEntries } from './signature-list.ts';

/** Certificates that a description names; a longer list is counted. */
const namedCertificates = 4;

/** The content of an EFI variable, for a person; null if its bytes say nothing that would fit a line. */
export function variableText(name: string, value: Buffer, isAuthority: boolean): string | null {
  if (/^Boot[0-9A-F]{4}$/.test(name)) return bootEntry(name, value);
  if (name === 'BootOrder' && value.length % 2 === 0) return bootOrder(value);
  if (name.startsWith('SbatLevel')) return sbatLevel(name, value);
  if (isAuthority) return authority(name, value);
  return signatureDatabases.has(name) && value.length > 0 ? database(name, value) : null;
}

const signatureDatabases: ReadonlySet<string> = new Set([
  ...['PK', 'KEK', 'db', 'dbx', 'dbt', 'dbr'],
  ...['MokList', 'MokListX', 'MokListRT', 'MokListXRT'],
]);

function bootEntry(name: string, value: Buffer): string | null {
  const option = loadOption(value);
  if (option === null) return null;
  return `${name}: ${option.description}${option.file === '' ? '' : ` (${option.file})`}`;
}

function bootOrder(value: Buffer): string {
  const entries: string[] = [];
  for (let at = 0; at + 2 <= value.length; at += 2)
    entries.push(value.readUInt16LE(at).toString(16).toUpperCase().padStart(4, '0'));
  return `BootOrder: ${entries.join(', ') || 'empty'}`;
}

/** Lines of components and their least versions; the date comes first. */
function sbatLevel(name: string, value: Buffer): string | null {
  const text = byteText(value);
  return text === null ? null : `${name}: ${text.trimEnd().split('\n').join('; ')}`;
}

function authority(name: string, value: Buffer): string | null {
  const { kind, subject, digest } = signatureDataEntry(value);
  if (kind === 'other') return null;
  return `${name}: ${kind === 'digest' ? `digest ${digest}` : (subject ?? `certificate ${digest}`)}`;
}

function database(name: string, value: Buffer): string | null {
  const entries = signatureEntries(value);
  if (entries === null) return null;
  const certificates = entries.filter(({ kind }) => kind === 'certificate');
  const counts = [
    counted(certificates.length, 'certificate'),
    counted(entries.filter(({ kind }) => kind === 'digest').length, 'digest'),
    counted(entries.filter(({ kind }) => kind === 'other').length, 'other entry'),
  ].filter((text) => text !== null);
  const names = certificates.length > namedCertificates ? [] : certificates.map(commonName);
  return `${name}: ${counts.join(', ') || 'empty'}${names.length === 0 ? '' : ` (${names.join('; ')})`}`;
}

function counted(count: number, what: string): string | null {
  if (count === 0) return null;
  return `${count} ${count === 1 ? what : `${what.replace(/entry$/, 'entrie')}s`}`;
}

/** Says most; the whole subject is in the boot's facts. */
function commonName({ subject }: SignatureEntry): string {
  return subject?.match(/(?:^|, )CN=(.*?)(?=, [\w.]+=|$)/)?.[1] ?? subject ?? 'unreadable';
}
