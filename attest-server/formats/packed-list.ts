import { Rejection } from '../wire/rejection.ts';

/*
 * The bytes of a digest list, version 1:
 *   "assay/digest-list/1\n"
 *   u32 each: digests of 20, of 32, of 48, of 64 bytes; packages; files
 *   packages: u8 length, UTF-8; in order, none twice, none unused
 *   digests: those of each length sorted, none twice, none without a file
 *   files: shared, rest (bytes of its path), the rest itself, number of its digest, number of its package from 1 or 0
 * Files are sorted by path and digest. `shared` bytes are those of the path before; each 16th path is whole. Numbers of
 * files are LEB128, all others big-endian. So a set of files has one form only.
 */

export const digestLengths: readonly number[] = [20, 32, 48, 64];

/** Files in a block, of which the first has its whole path: to read one, at most so many are read. */
export const filesInBlock = 16;
/** In bytes. */
export const longestPath = 4096;

/** A file that somebody knows: what it holds, where it lies, and which package brings it. */
export interface ListedFile {
  /** Of 20, 32, 48 or 64 bytes: its length says by which algorithm. */
  readonly digest: Buffer;
  /** At most 4096 bytes of UTF-8, without a NUL. */
  readonly path: string;
  /** Name and version, at most 255 bytes of UTF-8; null if nobody said. */
  readonly package: string | null;
}

/** A list as it was checked, and what is found of it. */
export interface PackedList {
  readonly bytes: Buffer;
  /** For each of `digestLengths`: how many, the number of the first, and its offset. */
  readonly tables: readonly DigestTable[];
  readonly packages: readonly string[];
  /** Offset of each block of files. */
  readonly blocks: Uint32Array;
  /** Files of the digest n are `fileOf[starts[n]]` to `fileOf[starts[n + 1] - 1]`. */
  readonly starts: Uint32Array;
  readonly fileOf: Uint32Array;
}

export interface DigestTable {
  readonly length: number;
  readonly count: number;
  readonly first: number;
  readonly at: number;
}

/** One file; `pathBytes` is valid until the next one is read. */
export interface FileRecord {
  readonly pathBytes: Buffer;
  readonly path: string;
  readonly digest: number;
  readonly package: string | null;
}

/** In steps of some milliseconds: a list of a million files takes half a second. @throws Rejection `malformed` */
export function* parsePackedListInSteps(bytes: Buffer): Generator<void, PackedList> {
  if (bytes.toString('latin1', 0, head.length) !== head)
    throw new Rejection('malformed', `no digest list: it does not begin with ${head.trim()}`, {
      field: 'version',
      offset: 0,
    });
  const reader = new Reader(bytes, head.length);
  const counts = digestLengths.map((length) => reader.uint32(`digests of ${length} bytes`));
  const packageCount = reader.uint32('packages');
  const fileCount = reader.uint32('files');

  const packages = parsePackages(reader, packageCount);
  const tables: DigestTable[] = [];
  let size = 0;
  for (const [kind, count] of counts.entries()) {
    const length = digestLengths[kind]!;
    const table = { length, count, first: size, at: reader.at };
    reader.skip(count * length, `digests of ${length} bytes`);
    yield* checkOrder(bytes, table);
    tables.push(table);
    size += count;
  }
  return { bytes, tables, packages, ...(yield* parseFiles(reader, fileCount, size, packageCount)) };
}

/** Reads files in order, from the start of a block on. @param path of `longestPath` bytes: where each path is put together */
export function* recordsFrom(
  list: PackedList,
  block: number,
  path = Buffer.allocUnsafe(longestPath),
): Generator<FileRecord> {
  const begin = list.blocks[block];
  if (begin === undefined) return;
  const reader = new Reader(list.bytes, begin);
  while (reader.at < list.bytes.length) {
    const shared = reader.varint('shared');
    const rest = reader.varint('rest');
    list.bytes.copy(path, shared, reader.at, reader.at + rest);
    reader.skip(rest, 'path');
    const digest = reader.varint('digest');
    const packageNumber = reader.varint('package');
    const pathBytes = path.subarray(0, shared + rest);
    yield {
      pathBytes,
      get path() {
        return pathBytes.toString();
      },
      digest,
      package: packageNumber === 0 ? null : list.packages[packageNumber - 1]!,
    };
  }
}

/** Below 0 where the first path of a block, which is whole there, comes before another one. */
export function compareFirst({ bytes, blocks }: PackedList, block: number, path: Buffer): number {
  const reader = new Reader(bytes, blocks[block]!);
  reader.varint('shared');
  const length = reader.varint('rest');
  return bytes.compare(path, 0, path.length, reader.at, reader.at + length);
}

/** @throws Rejection `malformed` for a file that none can be */
export function checkListedFile({ digest, path, package: name }: ListedFile): void {
  const refused = (text: string, field: string) => new Rejection('malformed', `${path}: ${text}`, { field });
  if (!digestLengths.includes(digest.length)) throw refused(`a digest of ${digest.length} bytes`, 'digest');
  if (path === '' || path.includes('\0') || Buffer.byteLength(path) > longestPath)
    throw refused(`a path has 1 to ${longestPath} bytes, and no NUL`, 'path');
  if (name === '' || (name !== null && Buffer.byteLength(name) > longestPackage))
    throw refused(`a package's name has 1 to ${longestPackage} bytes`, 'package');
}

/** In steps of some milliseconds. @throws Rejection as `checkListedFile` does */
export function* packFilesInSteps(given: Iterable<ListedFile>): Generator<void, Buffer> {
  const names = new Map<string, PackageName>();
  const unsorted: UnpackedFile[] = [];
  for (const file of given) {
    unsorted.push(unpacked(file, names));
    if (unsorted.length % recordsInStep === 0) yield;
  }
  const { digests, counts } = yield* numberDigests(unsorted);
  const files = yield* sortInSteps(
    unsorted,
    (a, b) => Buffer.compare(a.path, b.path) || a.number - b.number || compareNames(a.package, b.package),
  );
  yield;
  const kept = files.filter((file, index) => {
    const next = files[index + 1];
    return next === undefined || next.number !== file.number || !next.path.equals(file.path);
  });
  yield;
  const packages = [...new Set(kept.map((file) => file.package))].filter((name) => name !== null);
  packages.sort(compareNames);
  for (const [index, name] of packages.entries()) name.number = index + 1;

  const writer = new Writer();
  writer.bytes(Buffer.from(head));
  for (const count of [...counts, packages.length, kept.length]) writer.uint32(count);
  for (const { bytes } of packages) {
    writer.byte(bytes.length);
    writer.bytes(bytes);
  }
  for (const [index, digest] of digests.entries()) {
    if (index % recordsInStep === recordsInStep - 1) yield;
    writer.bytes(digest);
  }
  yield* writeFiles(writer, kept);
  return writer.end();
}

const head = 'assay/digest-list/1\n';
const longestPackage = 255;

function parsePackages(reader: Reader, count: number): readonly string[] {
  reader.needs(count * 2, 'packages');
  const packages: string[] = [];
  let before: Buffer = Buffer.alloc(0);
  for (let index = 0; index < count; index++) {
    const at = reader.at;
    const name = reader.view(reader.byte('package'), 'package');
    if (Buffer.compare(before, name) >= 0) throw fault('packages are not in order', 'package', at);
    packages.push(text(name, 'package', at));
    before = name;
  }
  return packages;
}

function* checkOrder(bytes: Buffer, { at, count, length }: DigestTable): Generator<void> {
  for (let index = 1; index < count; index++) {
    if (index % recordsInStep === 0) yield;
    const next = at + index * length;
    if (bytes.compare(bytes, next, next + length, next - length, next) >= 0)
      throw fault('digests are not in order', `digests of ${length} bytes`, next);
  }
}

/** Reads all files once: what is checked here, `recordsFrom` goes by. */
function* parseFiles(
  reader: Reader,
  count: number,
  size: number,
  packages: number,
): Generator<void, Pick<PackedList, 'blocks' | 'starts' | 'fileOf'>> {
  reader.needs(count * leastFileBytes, 'files');
  const blocks = new Uint32Array(Math.ceil(count / filesInBlock));
  const digestOf = new Uint32Array(count);
  const starts = new Uint32Array(size + 1);
  const unused = new Set(Array.from({ length: packages }, (_, index) => index + 1));
  const path = Buffer.alloc(longestPath);
  let pathLength = 0;
  let digestBefore = -1;
  for (let file = 0; file < count; file++) {
    if (file % recordsInStep === recordsInStep - 1) yield;
    const at = reader.at;
    const whole = file % filesInBlock === 0;
    if (whole) blocks[file / filesInBlock] = at;
    const shared = reader.varint('shared');
    if (shared > pathLength || (whole && shared !== 0))
      throw fault('it shares more of a path than there is', 'shared', at);
    const rest = reader.view(reader.varint('rest'), 'path');
    if (shared + rest.length > longestPath) throw fault('a path is too long', 'path', at);
    if (rest.includes(0)) throw fault('a path with a NUL', 'path', at);
    const order = path.compare(rest, 0, rest.length, shared, pathLength);
    if (order > 0 || (!whole && isShared(path, pathLength, shared, rest)))
      throw fault('files are not in order', 'path', at);
    rest.copy(path, shared);
    pathLength = shared + rest.length;
    if (pathLength === 0) throw fault('an empty path', 'path', at);
    if (!isAscii(rest)) text(path.subarray(0, pathLength), 'path', at);
    const digest = reader.varint('digest');
    if (digest >= size) throw fault(`digest ${digest} of ${size}`, 'digest', at);
    if (order === 0 && digest <= digestBefore) throw fault('files are not in order', 'digest', at);
    digestBefore = digest;
    digestOf[file] = digest;
    starts[digest + 1]! += 1;
    const named = reader.varint('package');
    if (named > packages) throw fault(`package ${named} of ${packages}`, 'package', at);
    unused.delete(named);
  }
  reader.end();
  if (starts.subarray(1).includes(0)) throw fault('a digest without a file', 'files', reader.at);
  if (unused.size > 0) throw fault('a package without a file', 'packages', reader.at);
  for (let index = 1; index <= size; index++) starts[index]! += starts[index - 1]!;
  return { blocks, starts, fileOf: filesByDigest(digestOf, starts) };
}

const recordsInStep = 16_384;
/** The least bytes of a file: its four numbers take at least one each. */
const leastFileBytes = 4;

/** More of the path before could have been shared. */
function isShared(path: Buffer, pathLength: number, shared: number, rest: Buffer): boolean {
  return shared < pathLength && rest.length > 0 && rest[0] === path[shared];
}

function filesByDigest(digestOf: Uint32Array, starts: Uint32Array): Uint32Array {
  const next = starts.slice();
  const fileOf = new Uint32Array(digestOf.length);
  for (let file = 0; file < digestOf.length; file++) {
    const digest = digestOf[file]!;
    fileOf[next[digest]!] = file;
    next[digest]! += 1;
  }
  return fileOf;
}

interface UnpackedFile {
  readonly digest: Buffer;
  /** Its first bytes as a number: to compare these is quicker than to compare buffers, and mostly enough. */
  readonly begin: number;
  readonly path: Buffer;
  readonly package: PackageName | null;
  /** The number of its digest, known once all files are. */
  number: number;
}

/** One object for each name, however many files have it. */
interface PackageName {
  readonly bytes: Buffer;
  /** From 1, known once all packages are. */
  number: number;
}

function unpacked(file: ListedFile, names: Map<string, PackageName>): UnpackedFile {
  checkListedFile(file);
  const { digest, path } = file;
  const name = file.package === null ? null : packageName(file.package, names);
  return { digest, begin: digest.readUIntBE(0, 6), path: Buffer.from(path), package: name, number: 0 };
}

function packageName(given: string, names: Map<string, PackageName>): PackageName {
  const name = given.toWellFormed();
  const known = names.get(name);
  if (known !== undefined) return known;
  const made = { bytes: Buffer.from(name), number: 0 };
  names.set(name, made);
  return made;
}

/** One that has a name comes after one that has none. */
function compareNames(a: PackageName | null, b: PackageName | null): number {
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  return Buffer.compare(a.bytes, b.bytes);
}

function* numberDigests(
  files: readonly UnpackedFile[],
): Generator<void, { digests: Buffer[]; counts: number[] }> {
  const counts = digestLengths.map(() => 0);
  const digests: Buffer[] = [];
  const sorted = yield* sortInSteps(
    files,
    (a, b) => a.digest.length - b.digest.length || a.begin - b.begin || Buffer.compare(a.digest, b.digest),
  );
  for (const [index, file] of sorted.entries()) {
    if (index % recordsInStep === recordsInStep - 1) yield;
    if (digests.at(-1)?.equals(file.digest) !== true) {
      digests.push(file.digest);
      counts[digestLengths.indexOf(file.digest.length)]! += 1;
    }
    file.number = digests.length - 1;
  }
  return { digests, counts };
}

function* writeFiles(writer: Writer, files: readonly UnpackedFile[]): Generator<void> {
  let before: Buffer = Buffer.alloc(0);
  for (const [index, { path, number, package: name }] of files.entries()) {
    if (index % recordsInStep === recordsInStep - 1) yield;
    const shared = index % filesInBlock === 0 ? 0 : sharedBytes(before, path);
    writer.varint(shared);
    writer.varint(path.length - shared);
    writer.bytes(path.subarray(shared));
    writer.varint(number);
    writer.varint(name?.number ?? 0);
    before = path;
  }
}

/** Runs of some thousand are sorted, then two are made one until one is left. What is equal keeps its order. */
function* sortInSteps<T>(
  items: readonly T[],
  compare: (a: T, b: T) => number,
): Generator<void, readonly T[]> {
  let runs: (readonly T[])[] = [];
  for (let at = 0; at < items.length; at += sortedInStep) {
    runs.push(items.slice(at, at + sortedInStep).sort(compare));
    yield;
  }
  while (runs.length > 1) {
    const merged: (readonly T[])[] = [];
    for (let index = 0; index < runs.length; index += 2)
      merged.push(yield* mergeInSteps(runs[index]!, runs[index + 1] ?? [], compare));
    runs = merged;
  }
  return runs[0] ?? [];
}

function* mergeInSteps<T>(
  a: readonly T[],
  b: readonly T[],
  compare: (a: T, b: T) => number,
): Generator<void, readonly T[]> {
  const merged: T[] = [];
  let [first, second] = [0, 0];
  while (merged.length < a.length + b.length) {
    const isFirst = second === b.length || (first < a.length && compare(a[first]!, b[second]!) <= 0);
    merged.push(isFirst ? a[first++]! : b[second++]!);
    if (merged.length % recordsInStep === 0) yield;
  }
  return merged;
}

const sortedInStep = 4096;

function sharedBytes(a: Buffer, b: Buffer): number {
  const most = Math.min(a.length, b.length);
  let shared = 0;
  while (shared < most && a[shared] === b[shared]) shared++;
  return shared;
}

class Reader {
  at: number;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  /** Before anything is made room for. */
  needs(count: number, field: string): void {
    if (count > this.#bytes.length - this.at)
      throw fault(`${count} bytes are needed, ${this.#bytes.length - this.at} are left`, field, this.at);
  }

  skip(count: number, field: string): void {
    this.needs(count, field);
    this.at += count;
  }

  view(count: number, field: string): Buffer {
    this.skip(count, field);
    return this.#bytes.subarray(this.at - count, this.at);
  }

  byte(field: string): number {
    this.skip(1, field);
    return this.#bytes[this.at - 1]!;
  }

  uint32(field: string): number {
    this.skip(4, field);
    return this.#bytes.readUInt32BE(this.at - 4);
  }

  /** LEB128 of at most 28 bits, in as few bytes as it takes. */
  varint(field: string): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte(field);
      value |= (byte & 0x7f) << shift;
      if (byte >= 0x80) continue;
      if (byte === 0 && shift > 0) break;
      return value;
    }
    throw fault('a number in a longer form than it needs', field, this.at - 1);
  }

  end(): void {
    const left = this.#bytes.length - this.at;
    if (left > 0) throw fault(`${left} bytes after the last file`, 'files', this.at);
  }
}

class Writer {
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #length = 0;

  byte(value: number): void {
    this.#grow(1);
    this.#bytes[this.#length++] = value;
  }

  uint32(value: number): void {
    this.#grow(4);
    this.#length = this.#bytes.writeUInt32BE(value, this.#length);
  }

  varint(value: number): void {
    if (value >= 1 << 28) throw new RangeError(`${value} is more than 28 bits`);
    let left = value;
    for (; left >= 0x80; left >>>= 7) this.byte((left & 0x7f) | 0x80);
    this.byte(left);
  }

  bytes(value: Buffer): void {
    this.#grow(value.length);
    value.copy(this.#bytes, this.#length);
    this.#length += value.length;
  }

  /** The bytes, of exactly their length: nothing is kept beside them. */
  end(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length));
  }

  #grow(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#length + count, this.#bytes.length * 2));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

function isAscii(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte >= 0x80) return false;
  return true;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function text(bytes: Buffer, field: string, offset: number): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new Rejection('malformed', 'no digest list: a text is not UTF-8', { field, offset, cause });
  }
}

function fault(what: string, field: string, offset: number): Rejection {
  return new Rejection('malformed', `no digest list: ${what}`, { field, offset });
}
