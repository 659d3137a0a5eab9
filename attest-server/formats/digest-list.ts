import { atOnce } from './in-steps.ts';
import {
  compareFirst,
  digestLengths,
  type FileRecord,
  filesInBlock,
  type ListedFile,
  longestPath,
  type PackedList,
  packFilesInSteps,
  parsePackedListInSteps,
  recordsFrom,
} from './packed-list.ts';

/**
 * Digests of known files, up to millions of them. It is its packed bytes (packed-list.ts), and an index of 8 bytes a file
 * beside them. A digest has a number, from 0: of its place among all, shorter ones first, each length sorted.
 */
export class DigestList {
  /** How many digests: several paths may have one, and a path several. */
  readonly size: number;
  /** How many files: pairs of a path and a digest. */
  readonly fileCount: number;
  readonly #packed: PackedList;
  readonly #tables: readonly (LengthTable | null)[];
  /** Where the path of a file is put together while some are looked up. */
  readonly #path = Buffer.allocUnsafe(longestPath);

  private constructor(packed: PackedList) {
    this.#packed = packed;
    this.size = packed.tables.reduce((sum, { count }) => sum + count, 0);
    this.fileCount = packed.fileOf.length;
    this.#tables = packed.tables.map((table) =>
      table.count === 0 ? null : { ...table, ...slotsOf(packed.bytes, table) },
    );
  }

  /** @throws Rejection `malformed`, with field and offset: any list is written in one way only */
  static fromBytes(packed: Buffer): DigestList {
    return atOnce(DigestList.fromBytesInSteps(packed));
  }

  /** In steps of some milliseconds. @throws as `fromBytes` does */
  static *fromBytesInSteps(packed: Buffer): Generator<void, DigestList> {
    return new DigestList(yield* parsePackedListInSteps(packed));
  }

  /**
   * In any order, the same file more than once. Of two packages with one file it names the last in order of bytes.
   * @throws Rejection `malformed` for a file that none can be
   */
  static of(files: Iterable<ListedFile>): DigestList {
    return atOnce(DigestList.ofInSteps(files));
  }

  /** In steps of some milliseconds. @throws as `of` does */
  static *ofInSteps(files: Iterable<ListedFile>): Generator<void, DigestList> {
    return yield* DigestList.fromBytesInSteps(yield* packFilesInSteps(files));
  }

  toBytes(): Buffer {
    return this.#packed.bytes;
  }

  /** The number of a digest, or -1. It allocates nothing. */
  find(digest: Buffer): number {
    const table = this.#tables[digestLengths.indexOf(digest.length)];
    if (table === undefined || table === null) return -1;
    const { bytes } = this.#packed;
    const slot = prefix(digest, 0) >>> table.shift;
    let low = table.slots[slot]!;
    let high = table.slots[slot + 1]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = compareAt(bytes, table.at + middle * table.length, digest);
      if (order === 0) return table.first + middle;
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return -1;
  }

  /** A view of the digest with this number. */
  digestAt(index: number): Buffer {
    const table = this.#tables.find(
      (one) => one !== null && index >= one.first && index < one.first + one.count,
    );
    if (table === undefined || table === null) throw new RangeError(`no digest ${index} of ${this.size}`);
    const at = table.at + (index - table.first) * table.length;
    return this.#packed.bytes.subarray(at, at + table.length);
  }

  /** The files with this content, in order of their paths; digests are views. */
  filesOf(index: number): readonly ListedFile[] {
    const { starts, fileOf } = this.#packed;
    const files: ListedFile[] = [];
    const end = starts[index + 1] ?? 0;
    for (let next = starts[index] ?? end; next < end; ) {
      const block = Math.floor(fileOf[next]! / filesInBlock);
      let place = block * filesInBlock;
      // Empty files are alike by the thousand: each block is read once for all that it has of them.
      for (const record of recordsFrom(this.#packed, block, this.#path)) {
        if (place++ === fileOf[next]) {
          files.push(this.#listed(record));
          next += 1;
        }
        if (next === end || fileOf[next]! >= (block + 1) * filesInBlock) break;
      }
    }
    return files;
  }

  /** The files that may lie at this path: one for each content. */
  filesAt(path: string): readonly ListedFile[] {
    const wanted = Buffer.from(path);
    const files: ListedFile[] = [];
    for (const record of recordsFrom(this.#packed, this.#blockBefore(wanted), this.#path)) {
      const order = Buffer.compare(record.pathBytes, wanted);
      if (order > 0) break;
      if (order === 0) files.push(this.#listed(record));
    }
    return files;
  }

  /** All files, in order of their paths' bytes; digests are views. */
  *files(): Generator<ListedFile> {
    for (const record of recordsFrom(this.#packed, 0)) yield this.#listed(record);
  }

  #listed({ digest, path, package: name }: FileRecord): ListedFile {
    return { digest: this.digestAt(digest), path, package: name };
  }

  /** The last block of files that begins before a path: what is equal to it may lie over several. */
  #blockBefore(path: Buffer): number {
    let low = 0;
    let high = this.#packed.blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareFirst(this.#packed, middle, path) < 0) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

/** Digests of one length, and where each first part of a digest begins among them. */
interface LengthTable {
  readonly length: number;
  readonly count: number;
  /** Number of its first digest, and that one's offset. */
  readonly first: number;
  readonly at: number;
  readonly slots: Uint32Array;
  readonly shift: number;
}

/** As many slots as leave some eight digests in each, if they are spread as digests are; at most 65,536. */
function slotsOf(
  bytes: Buffer,
  { length, count, at }: { length: number; count: number; at: number },
): { slots: Uint32Array; shift: number } {
  const bits = Math.min(16, Math.max(0, 32 - Math.clz32(count >>> 3)));
  const shift = 16 - bits;
  const slots = new Uint32Array((1 << bits) + 1);
  for (let index = 0; index < count; index++) slots[(prefix(bytes, at + index * length) >>> shift) + 1]! += 1;
  for (let slot = 1; slot < slots.length; slot++) slots[slot]! += slots[slot - 1]!;
  return { slots, shift };
}

function prefix(bytes: Buffer, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

/** A loop beats Buffer.compare here: random digests differ within their first bytes. */
function compareAt(bytes: Buffer, at: number, digest: Buffer): number {
  for (let index = 0; index < digest.length; index++) {
    const difference = bytes[at + index]! - digest[index]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
