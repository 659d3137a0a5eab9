/** A section of a made image: where it lies in the file, and what it holds. */
export interface MadeSection {
  readonly at: number;
  readonly content: Buffer;
}

const peAt = 0x80;
const optionalAt = peAt + 24;
export const headerBytes = 0x400;
export const checksumAt = optionalAt + 64;

/** Offset of the directory entry that says where the signatures lie. */
export function certificateTableAt(plus: boolean): number {
  return optionalAt + (plus ? 112 : 96) + 4 * 8;
}

/** A PE image of these sections, each named in the order given, and what follows them in the file. */
export function madePe(plus: boolean, sections: readonly MadeSection[], trailing: Buffer): Buffer {
  const optionalBytes = plus ? 240 : 224;
  const end = Math.max(headerBytes, ...sections.map(({ at, content }) => at + content.length));
  const bytes = Buffer.alloc(end + trailing.length);
  bytes.write('MZ');
  bytes.writeUInt32LE(peAt, 0x3c);
  bytes.write('PE\0\0', peAt, 'latin1');
  bytes.writeUInt16LE(plus ? 0x8664 : 0x014c, peAt + 4);
  bytes.writeUInt16LE(sections.length, peAt + 6);
  bytes.writeUInt16LE(optionalBytes, peAt + 20);
  bytes.writeUInt16LE(0x0022, peAt + 22);
  bytes.writeUInt16LE(plus ? 0x020b : 0x010b, optionalAt);
  bytes.writeUInt32LE(0x1000, optionalAt + 32);
  bytes.writeUInt32LE(0x200, optionalAt + 36);
  bytes.writeUInt32LE(0x10000, optionalAt + 56);
  bytes.writeUInt32LE(headerBytes, optionalAt + 60);
  bytes.writeUInt32LE(0x12345678, checksumAt);
  bytes.writeUInt16LE(10, optionalAt + 68);
  bytes.writeUInt32LE(16, optionalAt + (plus ? 108 : 92));
  sections.forEach(({ at, content }, i) => {
    const header = optionalAt + optionalBytes + i * 40;
    bytes.write(`.s${i}`, header);
    bytes.writeUInt32LE(content.length, header + 8);
    bytes.writeUInt32LE(0x1000 * (i + 1), header + 12);
    bytes.writeUInt32LE(content.length, header + 16);
    bytes.writeUInt32LE(at, header + 20);
    content.copy(bytes, at);
  });
  trailing.copy(bytes, end);
  return bytes;
}

/** The same image with signatures at its end. */
export function signedPe(image: Buffer, plus: boolean, signatures: Buffer): Buffer {
  const signed = Buffer.concat([image, signatures]);
  signed.writeUInt32LE(image.length, certificateTableAt(plus));
  signed.writeUInt32LE(signatures.length, certificateTableAt(plus) + 4);
  signed.writeUInt32LE(0x87654321, checksumAt);
  return signed;
}
