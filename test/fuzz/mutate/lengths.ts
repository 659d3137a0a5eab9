import type { Random } from '../random.ts';
import { changeBytes, edges, piece, putNumber, replaced } from './bytes.ts';

type Endian = 'big-endian' | 'little-endian';

/** A number that may say how many bytes follow it. */
interface Field {
  readonly offset: number;
  readonly size: number;
  readonly length: number;
}

/**
 * One change to a number that looks like a length, or to what it is the length of: so that the rest of the structure
 * still lies where the parser looks for it, or just not.
 */
export function changeLengths(bytes: Buffer, donor: Buffer, endian: Endian, random: Random): Buffer {
  const field = likelyField(bytes, endian, random);
  if (field === null) return changeBytes(bytes, donor, random);
  const { offset, size, length } = field;
  const start = offset + size;
  const put = (value: number): Buffer => {
    const result = Buffer.from(bytes);
    putNumber(result, offset, size, Math.max(0, value), endian === 'little-endian');
    return result;
  };
  const resized = (content: Buffer): Buffer => {
    const result = replaced(bytes, start, length, content);
    putNumber(result, offset, size, content.length, endian === 'little-endian');
    return random.once(2) ? result : aroundToo(result, field, content.length - length, endian, random);
  };
  const content = bytes.subarray(start, start + length);
  const left = bytes.length - start;
  switch (random.below(9)) {
    case 0:
      return put(length + random.pick([-2, -1, 1, 2]));
    case 1:
      return put(random.pick([left, left + 1, left - 1, ...edges]));
    case 2:
      return resized(Buffer.alloc(0));
    case 3:
      return resized(piece(content, random));
    case 4:
      return resized(Buffer.concat([content, piece(random.once(2) ? content : donor, random)]));
    case 5:
      return resized(donorContent(donor, endian, random));
    case 6:
      return replaced(bytes, offset, size + length, Buffer.alloc(0));
    case 7:
      return replaced(bytes, offset, 0, bytes.subarray(offset, start + length));
    default:
      return replaced(bytes, start, length, changeBytes(content, donor, random).subarray(0, length));
  }
}

const tries = 64;

/** A field that is not zero, and whose content lies within the bytes. */
function likelyField(bytes: Buffer, endian: Endian, random: Random): Field | null {
  for (let attempt = 0; attempt < tries; attempt++) {
    const size = random.pick([1, 2, 2, 2, 4, 4, 4, 8]);
    if (size >= bytes.length) continue;
    const offset = random.below(bytes.length - size);
    const length = numberAt(bytes, offset, size, endian);
    if (length > 0 && offset + size + length <= bytes.length) return { offset, size, length };
  }
  return null;
}

function numberAt(bytes: Buffer, offset: number, size: number, endian: Endian): number {
  let value = 0;
  for (let i = 0; i < size; i++)
    value = value * 256 + (bytes[endian === 'big-endian' ? offset + i : offset + size - 1 - i] ?? 0);
  return value;
}

/** Corrects a field around the one whose content became longer or shorter, if there seems to be one. */
function aroundToo(bytes: Buffer, inner: Field, more: number, endian: Endian, random: Random): Buffer {
  const end = inner.offset + inner.size + inner.length;
  for (let attempt = 0; attempt < tries; attempt++) {
    const size = random.pick([2, 4]);
    const offset = inner.offset - size - random.below(Math.min(256, inner.offset));
    if (offset < 0) continue;
    const length = numberAt(bytes, offset, size, endian);
    if (offset + size + length < end || offset + size + length + more > bytes.length) continue;
    putNumber(bytes, offset, size, Math.max(0, length + more), endian === 'little-endian');
    return bytes;
  }
  return bytes;
}

function donorContent(donor: Buffer, endian: Endian, random: Random): Buffer {
  const field = likelyField(donor, endian, random);
  if (field === null) return piece(donor, random);
  const start = field.offset + field.size;
  return donor.subarray(start, start + field.length);
}
