import { Rejection } from '../../../wire/rejection.ts';

export interface CachedLibrary {
  /** The name that programs ask for. */
  readonly name: string;
  /** The file that they get. */
  readonly path: string;
}

const magic = 'glibc-ld.so.cache1.1';
const headerSize = 48;
const entrySize = 24;

/**
 * The cache of libraries as ldconfig writes it since glibc 2.32 (sysdeps/generic/dl-cache.h), little-endian; one after the other.
 * @throws Rejection `malformed`, with the offset
 */
export function* parseLibraryCache(bytes: Buffer): Generator<CachedLibrary> {
  if (bytes.length < headerSize || bytes.toString('latin1', 0, magic.length) !== magic)
    throw malformed('it begins otherwise, or is of an older form', 0);
  if ((bytes[28]! & 3) === 3) throw malformed('its numbers are big-endian', 28);
  const count = bytes.readUInt32LE(20);
  if (headerSize + count * entrySize > bytes.length) throw malformed('it ends early', 20);
  for (let at = headerSize; at < headerSize + count * entrySize; at += entrySize)
    yield { name: textAt(bytes, at + 4), path: textAt(bytes, at + 8) };
}

/** @param at of the number that says where the text is */
function textAt(bytes: Buffer, at: number): string {
  const begin = bytes.readUInt32LE(at);
  const end = begin > bytes.length ? -1 : bytes.subarray(begin, begin + longestText).indexOf(0);
  if (end < 0) throw malformed('a text has no end', at);
  return bytes.toString('latin1', begin, begin + end);
}

const longestText = 4096;

function malformed(what: string, offset: number): Rejection {
  return new Rejection('malformed', `no cache of libraries: ${what}`, { offset });
}
