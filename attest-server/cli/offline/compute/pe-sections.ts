import { peHeaders } from '../../../verify/boot/pe-headers.ts';
import { Cursor } from '../../../verify/tpm/cursor.ts';

/** A section of a PE image, as it lies in memory once the image is loaded. */
export interface PeSection {
  readonly name: string;
  /** A view into the file. */
  readonly content: Buffer;
  /** How many zeros follow `content` in memory; it is the image that says so. */
  readonly zeros: number;
}

const headerBytes = 40;

/**
 * The sections of a PE image, in the order of its table.
 * PE Format (Microsoft), "Section Table (Section Headers)".
 * @throws Rejection `malformed` with field and offset, for what is no PE image or lies about its lengths
 */
export function peSections(file: Buffer): readonly PeSection[] {
  const { sectionCount, sectionTable } = peHeaders(file);
  const sections: PeSection[] = [];
  for (let i = 0; i < sectionCount; i++)
    sections.push(section(sectionTable.bytes(headerBytes, 'sectionHeader'), file, i));
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
