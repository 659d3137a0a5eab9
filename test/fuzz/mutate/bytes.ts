import type { Random } from '../random.ts';

/** One change that knows nothing of the structure. */
export function changeBytes(bytes: Buffer, donor: Buffer, random: Random): Buffer {
  if (bytes.length === 0) return piece(donor, random);
  return random.pick(changes)(bytes, donor, random);
}

type Change = (bytes: Buffer, donor: Buffer, random: Random) => Buffer;

const changes: readonly [Change, ...Change[]] = [
  (bytes, _, random) => at(bytes, random.below(bytes.length), (value) => value ^ (1 << random.below(8))),
  (bytes, _, random) => at(bytes, random.below(bytes.length), () => random.word() & 0xff),
  (bytes, _, random) => at(bytes, random.below(bytes.length), (value) => value + 1 + random.below(16)),
  (bytes, _, random) => at(bytes, random.below(bytes.length), (value) => value - 1 - random.below(16)),
  writeNumber,
  writeNumber,
  (bytes, _, random) => without(bytes, ...range(bytes, random)),
  (bytes, _, random) => bytes.subarray(0, random.below(bytes.length)),
  (bytes, _, random) => {
    const noise = Buffer.from(Array.from({ length: random.length(32) }, () => random.word() & 0xff));
    return replaced(bytes, random.below(bytes.length + 1), 0, noise);
  },
  (bytes, _, random) => {
    const filler = Buffer.alloc(random.length(4096), random.pick([0, 0xff, 0x20, 0x30, 0x41]));
    return replaced(bytes, random.below(bytes.length + 1), 0, filler);
  },
  repeated,
  (bytes, _, random) => {
    const [from, end] = range(bytes, random);
    return replaced(bytes, random.below(bytes.length + 1), 0, bytes.subarray(from, end));
  },
  (bytes, _, random) => {
    const [from, end] = range(bytes, random);
    return replaced(
      bytes,
      random.below(bytes.length - (end - from) + 1),
      end - from,
      bytes.subarray(from, end),
    );
  },
  (bytes, donor, random) => replaced(bytes, random.below(bytes.length + 1), 0, piece(donor, random)),
  (bytes, donor, random) => {
    const taken = piece(donor, random);
    return replaced(bytes, random.below(bytes.length), taken.length, taken);
  },
  (bytes, donor, random) => {
    const cut = random.below(bytes.length);
    const from = random.once(2) ? cut : random.below(donor.length);
    return Buffer.concat([bytes.subarray(0, cut), donor.subarray(Math.min(from, donor.length))]);
  },
];

/** Numbers at which code changes its mind. */
export const edges: readonly [number, ...number[]] = [
  0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 20, 31, 32, 33, 48, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512,
  1023, 1024, 4095, 4096, 32_767, 32_768, 65_535, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff,
];

/** A number of one to eight bytes over what stood there, mostly where numbers are aligned. */
function writeNumber(bytes: Buffer, _: Buffer, random: Random): Buffer {
  const size = Math.min(random.pick([1, 2, 2, 4, 4, 4, 8]), bytes.length);
  const anywhere = random.below(bytes.length - size + 1);
  const offset = random.once(3) ? anywhere : anywhere - (anywhere % size);
  const left = bytes.length - offset - size;
  const value = random.pick([random.pick(edges), random.pick(edges), left, left + 1, left - 1, bytes.length]);
  const result = Buffer.from(bytes);
  putNumber(result, offset, size, Math.max(0, value), random.once(2));
  return result;
}

/** Its low bytes, where the number is longer than the place. */
export function putNumber(
  bytes: Buffer,
  offset: number,
  size: number,
  value: number,
  isLittle: boolean,
): void {
  let rest = value;
  for (let i = 0; i < size; i++) {
    bytes[isLittle ? offset + i : offset + size - 1 - i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

/** A block many times: what costs more than it is long, shows. */
function repeated(bytes: Buffer, _: Buffer, random: Random): Buffer {
  const [from, end] = range(bytes, random);
  const times = Math.min(random.length(512), Math.ceil(65_536 / (end - from)));
  const block = bytes.subarray(from, end);
  return replaced(bytes, end, 0, Buffer.concat(Array.from({ length: times }, () => block)));
}

function at(bytes: Buffer, offset: number, change: (value: number) => number): Buffer {
  const result = Buffer.from(bytes);
  result[offset] = change(result[offset] ?? 0);
  return result;
}

/** A range with at least one byte in it. */
function range(bytes: Buffer, random: Random): [from: number, end: number] {
  const length = random.length(bytes.length);
  const from = random.below(bytes.length - length + 1);
  return [from, from + length];
}

export function piece(bytes: Buffer, random: Random): Buffer {
  if (bytes.length === 0) return Buffer.of(random.word() & 0xff);
  return bytes.subarray(...range(bytes, random));
}

function without(bytes: Buffer, from: number, end: number): Buffer {
  return replaced(bytes, from, end - from, Buffer.alloc(0));
}

/** Puts bytes in the place of `length` others. */
export function replaced(bytes: Buffer, from: number, length: number, by: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, from), by, bytes.subarray(from + length)]);
}
