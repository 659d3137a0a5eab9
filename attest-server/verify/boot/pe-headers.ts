import { Cursor } from '../tpm/cursor.ts';

/** The headers of a PE image, before its section table. */
export interface PeHeaders {
  readonly sectionCount: number;
  /** Where the optional header begins in the file, and its bytes, a view. */
  readonly optionalAt: number;
  readonly optional: Buffer;
  /** Reads on from the section table, whose headers take 40 bytes each. */
  readonly sectionTable: Cursor;
}

/**
 * Reads up to the section table. PE Format (Microsoft), "MS-DOS Stub" to "Optional Header".
 * @param file the whole file
 * @throws Rejection `malformed` with field and offset, for what is no PE image or ends early
 */
export function peHeaders(file: Buffer): PeHeaders {
  const dos = new Cursor(file, 'little');
  if (dos.u16('e_magic') !== 0x5a4d) throw dos.fault('e_magic', 'the file does not begin with MZ', 0);
  dos.skip(58, 'dosHeader');
  const peAt = dos.u32('e_lfanew');
  const image = new Cursor(file, 'little');
  image.skip(peAt, 'e_lfanew');
  if (image.u32('signature') !== 0x00004550) throw image.fault('signature', 'the file is no PE image', peAt);
  image.skip(2, 'machine');
  const sectionCount = image.u16('numberOfSections');
  image.skip(12, 'coffHeader');
  const optionalBytes = image.u16('sizeOfOptionalHeader');
  image.skip(2, 'characteristics');
  const optionalAt = image.offset;
  const optional = image.bytes(optionalBytes, 'optionalHeader');
  return { sectionCount, optionalAt, optional, sectionTable: image };
}
