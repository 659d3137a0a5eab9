import { limits } from '../../protocol/limits.ts';
import { Rejection } from '../../protocol/rejection.ts';
import { Cursor } from '../tpm/cursor.ts';

/** One measurement of the running kernel. Buffers are views into the list, but for `hashed` of the template `ima`. */
export interface ImaEntry {
  readonly pcr: number;
  /** SHA-1 over `hashed`, as the list says: what a kernel before 5.8 extends into each bank. */
  readonly digest: Buffer;
  readonly isViolation: boolean;
  readonly template: string;
  /** What the kernel hashes, once for each bank. */
  readonly hashed: Buffer;
}

const pcrCount = 24;
const digestBytes = 20;
const noDigest = Buffer.alloc(digestBytes);
/** Longer than any name of the kernel's, and than a format of `ima_template_fmt=` that makes sense. */
const longestTemplate = 64;
/** The oldest template has no size before its data, and its name is hashed with zeros up to this many bytes. */
const oldest = 'ima';
const paddedName = 256;

/**
 * Parses binary_runtime_measurements as a little-endian Linux writes it, security/integrity/ima/ima_fs.c
 * (ima_measurements_show), whatever the templates of its entries are.
 * @throws Rejection `malformed` with field and offset, `too_large`
 */
export function parseImaList(bytes: Buffer): readonly ImaEntry[] {
  if (bytes.length > limits.parts.ima)
    throw new Rejection('too_large', `an IMA list of ${bytes.length} bytes`, { field: 'ima' });
  const cursor = new Cursor(bytes, 'little');
  const entries: ImaEntry[] = [];
  while (cursor.remaining > 0) entries.push(parseEntry(cursor));
  return entries;
}

function parseEntry(cursor: Cursor): ImaEntry {
  const begin = cursor.offset;
  const pcr = cursor.u32('ima.pcr');
  if (pcr >= pcrCount) throw cursor.fault('ima.pcr', `there is no PCR ${pcr}`, begin);
  const digest = cursor.bytes(digestBytes, 'ima.digest');
  const length = cursor.u32('ima.template.size');
  if (length === 0 || length > longestTemplate)
    throw cursor.fault('ima.template', `a template's name of ${length} bytes`);
  const template = cursor.bytes(length, 'ima.template').toString('latin1');
  if (!/^[!-~]+$/.test(template)) throw cursor.fault('ima.template', 'a template without a name', begin);
  const hashed = template === oldest ? parseOldest(cursor) : cursor.bytes(cursor.u32('ima.size'), 'ima.data');
  return { pcr, digest, isViolation: digest.equals(noDigest), template, hashed };
}

/** A SHA-1 digest, then a name with its size. */
function parseOldest(cursor: Cursor): Buffer {
  const hashed = Buffer.alloc(digestBytes + paddedName);
  cursor.bytes(digestBytes, 'ima.data').copy(hashed);
  const length = cursor.u32('ima.name.size');
  if (length >= paddedName) throw cursor.fault('ima.name', `a file's name of ${length} bytes`);
  cursor.bytes(length, 'ima.name').copy(hashed, digestBytes);
  return hashed;
}

/** What an entry says that it measured. */
export interface ImaSubject {
  /** The hash's name as the kernel writes it, such as `sha256`. */
  readonly algorithm: string;
  readonly digest: Buffer;
  /** A file's path, or what the kernel calls what it measured. */
  readonly name: string;
}

/** Of any template that begins with a digest and a name, as all of the kernel's own do; null for another one. */
export function subjectOf({ template, hashed }: ImaEntry): ImaSubject | null {
  if (template === oldest) {
    const digest = hashed.subarray(0, digestBytes);
    const end = hashed.indexOf(0, digestBytes);
    return {
      algorithm: 'sha1',
      digest,
      name: hashed.toString('utf8', digestBytes, end < 0 ? undefined : end),
    };
  }
  try {
    const cursor = new Cursor(hashed, 'little');
    const digest = cursor.bytes(cursor.u32('d-ng.size'), 'd-ng');
    const name = cursor.bytes(cursor.u32('n-ng.size'), 'n-ng');
    // "sha256:" and a NUL; with a word and a colon before it in the templates of ima-ngv2.
    const colon = digest.indexOf(':\0');
    const algorithm = /^(?:ima:|verity:)?([a-z0-9-]{1,32})$/.exec(
      digest.toString('latin1', 0, Math.max(0, colon)),
    )?.[1];
    if (algorithm === undefined || name.at(-1) !== 0) return null;
    return { algorithm, digest: digest.subarray(colon + 2), name: name.toString('utf8', 0, name.length - 1) };
  } catch (error) {
    if (error instanceof Rejection) return null;
    throw error;
  }
}
