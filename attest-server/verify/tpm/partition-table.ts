import { guidText } from './efi-structures.ts';

/** UEFI_GPT_DATA: the disk that was booted from. PC Client PFP 1.06, section 10.2.7; UEFI 2.10, section 5.3. */
export interface PartitionTable {
  readonly disk: string;
  /** The partitions' names, "" where one has none. */
  readonly partitions: readonly string[];
}

const diskGuidAt = 56;
const entryBytesAt = 84;
const countAt = 92;
const entriesAt = 100;
const nameAt = 56;
const smallestEntry = 128;

/** Null if the lengths do not fit. */
export function partitionTable(data: Buffer): PartitionTable | null {
  if (data.length < entriesAt || data.toString('latin1', 0, 8) !== 'EFI PART') return null;
  const size = data.readUInt32LE(entryBytesAt);
  const count = Number(data.readBigUInt64LE(countAt));
  if (size < smallestEntry || count > (data.length - entriesAt) / size) return null;
  const partitions: string[] = [];
  for (let index = 0; index < count; index++) {
    const entry = data.subarray(entriesAt + index * size, entriesAt + (index + 1) * size);
    partitions.push(entry.toString('utf16le', nameAt, smallestEntry).replace(/\0.*$/s, ''));
  }
  return { disk: guidText(data.subarray(diskGuidAt, diskGuidAt + 16)), partitions };
}
