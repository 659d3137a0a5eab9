import { Cursor } from '../../verify/tpm/cursor.ts';

/** A section of a PE image, as it lies in memory once the image is loaded. */
export interface PeSection {
  readonly name: string;
  /** A view into the file. */
  readonly content: Buffer;
  /** How many zeros follow `content` in memory; the image's word. */
  readonly zeros: number;
}

const headerBytes = 40;

/**
 * The sections of a PE image, in the order of its table.
 * PE Format (Microsoft), "Section Table (Section Headers)".
 * @throws Rejection `malformed` with field and offset, for what is no PE image or lies about its lengths
 */
export function peSections(file: Buffer): readonly PeSection[] {
  const dos = new Cursor(file, 'little');
  if (dos.u16('e_magic') !== 0x5a4d) throw dos.fault('e_magic', 'the file does not begin with MZ', 0);
  dos.skip(58, 'dosHeader');
  const peAt = dos.u32('e_lfanew');
  const image = new Cursor(file, 'little');
  image.skip(peAt, 'e_lfanew');
  if (image.u32('signature') !== 0x00004550) throw image.fault('signature', 'the file is no PE image', peAt);
  image.skip(2, 'machine');
  const count = image.u16('numberOfSections');
  image.skip(12, 'coffHeader');
  const optionalBytes = image.u16('sizeOfOptionalHeader');
  image.skip(2 + optionalBytes, 'optionalHeader');
  const sections: PeSection[] = [];
  for (let i = 0; i < count; i++) sections.push(section(image.bytes(headerBytes, 'sectionHeader'), file, i));
  return sections;
}

function section(header: Buffer, file: Buffer, index: number): PeSection {
  const fields = new Cursor(header, 'little');
  const name = fields.bytes(8, 'name').toString('latin1').replace(/\0.*$/s, '');
  const inMemory = fields.u32('virtualSize');
  fields.skip(4, 'virtualAddress');
  const inFile = fields.u32('sizeOfRawData');
  const start = fields.u32('pointerToRawData');
  if (start + inFile > file.length)
    throw fields.fault('sizeOfRawData', `section ${index} reaches past the end of the file`, start);
  const content = file.subarray(start, start + Math.min(inFile, inMemory));
  return { name, content, zeros: inMemory - content.length };
}
