import type { Random } from '../random.ts';
import { changeBytes, replaced } from './bytes.ts';

/** One change to whole records: left out, repeated, moved, cut after one, or taken from another input. */
export function changeRecords(
  bytes: Buffer,
  donor: Buffer,
  recordsOf: (bytes: Buffer) => readonly number[],
  random: Random,
): Buffer {
  const records = rangesOf(bytes, recordsOf);
  const record = random.pick(records);
  if (record === undefined) return changeBytes(bytes, donor, random);
  const [from, end] = record;
  const content = bytes.subarray(from, end);
  const [place] = random.pick(records) ?? [0];
  switch (random.below(7)) {
    case 0:
      return replaced(bytes, from, end - from, Buffer.alloc(0));
    case 1:
      return replaced(bytes, place, 0, content);
    case 2: {
      const times = Math.min(random.length(256), Math.ceil(65_536 / Math.max(1, content.length)));
      return replaced(bytes, from, 0, Buffer.concat(Array.from({ length: times }, () => content)));
    }
    case 3:
      return bytes.subarray(0, end);
    case 4: {
      const other = random.pick(rangesOf(donor, recordsOf));
      return replaced(bytes, place, 0, other === undefined ? donor : donor.subarray(...other));
    }
    case 5: {
      const other = random.pick(rangesOf(donor, recordsOf));
      return replaced(bytes, from, end - from, other === undefined ? donor : donor.subarray(...other));
    }
    default:
      return replaced(bytes, from, end - from, changeBytes(content, donor, random));
  }
}

function rangesOf(
  bytes: Buffer,
  recordsOf: (bytes: Buffer) => readonly number[],
): readonly (readonly [from: number, end: number])[] {
  const begins = recordsOf(bytes);
  return begins.map((from, index) => [from, begins[index + 1] ?? bytes.length] as const);
}
