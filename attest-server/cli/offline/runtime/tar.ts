import { createHash } from 'node:crypto';
import { Rejection } from '../../../wire/rejection.ts';

/** A file of an archive, another name of one, or a symbolic link; directories and devices are passed over. */
export type TarFile =
  | { readonly path: string; readonly digest: Buffer; readonly text: Buffer | null }
  /** A hard link: the path of the file before it that it is. */
  | { readonly path: string; readonly linkTo: string }
  /** A symbolic link, as it stands there. */
  | { readonly path: string; readonly target: string };

export interface TarOptions {
  /** Files up to so many bytes are kept whole as `text`. */
  readonly keepUpTo?: number;
}

/**
 * Reads an archive (POSIX.1-2001 pax, ustar, and GNU's long names) in one pass, file after file, with SHA-256 of each; paths
 * begin with `/`. Nothing is written anywhere.
 * @throws Rejection `malformed`, `too_large`, with the field and the offset in the unpacked archive
 */
export async function* readTar(
  chunks: AsyncIterable<Buffer>,
  { keepUpTo = -1 }: TarOptions = {},
): AsyncGenerator<TarFile> {
  const source = new ByteSource(chunks);
  try {
    yield* filesOf(source, keepUpTo);
  } finally {
    await source.close();
  }
}

async function* filesOf(source: ByteSource, keepUpTo: number): AsyncGenerator<TarFile> {
  let extended: ExtendedHeader = {};
  for (let entries = 0; ; entries++) {
    const header = await source.take(blockSize, 'header');
    if (isZero(header)) break;
    if (entries >= most.entries) throw tooLarge(`more than ${most.entries} entries`, 'header', source.at);
    const entry = parseHeader(header, source.at - blockSize, extended);
    const { type, path, linkTo, size } = entry;
    if (extensions.has(type)) {
      const content = await source.take(checkedSize(size, most.extension, source.at), 'extension');
      extended = { ...extended, ...parseExtension(type, content, source.at) };
    } else {
      if (type === '1') yield { path: absolute(path, source.at), linkTo: absolute(linkTo, source.at) };
      else if (type === '2') yield { path: absolute(path, source.at), target: linkTo };
      else if (type === '0' || type === '\0' || type === '7')
        yield await readFile(source, absolute(path, source.at), size, keepUpTo);
      else await source.skip(hasContent(type) ? size : 0);
      extended = {};
    }
    await source.skip(padding(hasContent(type) ? size : 0));
  }
  await source.drain();
}

const blockSize = 512;
/** Bytes of all files; a package of today has a few GB at most. */
const most = { entries: 1_000_000, extension: 1024 * 1024, bytes: 64 * 1024 ** 3 };

/** Types of entries that describe the next one: pax, and GNU's long path and long link. */
const extensions: ReadonlySet<string> = new Set(['x', 'g', 'L', 'K']);

interface ExtendedHeader {
  readonly path?: string;
  readonly linkTo?: string;
  readonly size?: number;
}

interface TarHeader {
  readonly type: string;
  readonly path: string;
  readonly linkTo: string;
  readonly size: number;
}

function parseHeader(block: Buffer, at: number, extended: ExtendedHeader): TarHeader {
  let sum = 0;
  for (const [index, byte] of block.entries()) sum += index >= 148 && index < 156 ? 0x20 : byte;
  if (number(block, 148, 8, 'checksum', at) !== sum) throw malformed('a wrong checksum', 'checksum', at);
  const type = String.fromCharCode(block[156]!);
  const isUstar = block.toString('latin1', 257, 262) === 'ustar' && block[262] === 0;
  const prefix = isUstar ? text(block, 345, 155) : '';
  const name = text(block, 0, 100);
  const isExtension = extensions.has(type);
  return {
    type,
    path: (isExtension ? undefined : extended.path) ?? (prefix === '' ? name : `${prefix}/${name}`),
    linkTo: (isExtension ? undefined : extended.linkTo) ?? text(block, 157, 100),
    size: (isExtension ? undefined : extended.size) ?? number(block, 124, 12, 'size', at),
  };
}

function parseExtension(type: string, content: Buffer, at: number): ExtendedHeader {
  if (type === 'L') return { path: text(content, 0, content.length) };
  if (type === 'K') return { linkTo: text(content, 0, content.length) };
  // What is said of all that follows says nothing of names or sizes.
  return type === 'g' ? {} : parseRecords(content, at);
}

/** `<length> <key>=<value>\n`, the length that of the whole record. */
function parseRecords(content: Buffer, end: number): ExtendedHeader {
  const found: { path?: string; linkTo?: string; size?: number } = {};
  for (let at = 0; at < content.length; ) {
    const length = Number(/^([1-9]\d{0,6}) /.exec(content.toString('latin1', at, at + 8))?.[1] ?? 0);
    const record = content.toString('utf8', at, at + length);
    const value = /^\d+ ([^=]+)=([\s\S]*)\n$/.exec(record);
    if (length === 0 || at + length > content.length || value === null)
      throw malformed('no record of a pax header', 'extension', end - content.length + at);
    const [, key = '', said = ''] = value;
    if (key === 'path') found.path = said;
    if (key === 'linkpath') found.linkTo = said;
    if (key === 'size') {
      if (!/^\d{1,15}$/.test(said)) throw malformed('no size', 'size', end - content.length + at);
      found.size = Number(said);
    }
    at += length;
  }
  return found;
}

async function readFile(source: ByteSource, path: string, size: number, keepUpTo: number): Promise<TarFile> {
  const hash = createHash('sha256');
  const kept: Buffer[] = [];
  checkedSize(size, most.bytes - source.at, source.at);
  await source.skip(size, (chunk) => {
    hash.update(chunk);
    if (size <= keepUpTo) kept.push(chunk);
  });
  return { path, digest: hash.digest(), text: size <= keepUpTo ? Buffer.concat(kept) : null };
}

/** Types of entries whose size is that of bytes after the header: not links, devices, folders and pipes. */
function hasContent(type: string): boolean {
  return !/[1-6]/.test(type);
}

function padding(size: number): number {
  return (blockSize - (size % blockSize)) % blockSize;
}

function absolute(path: string, at: number): string {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.length === 0 || names.includes('..')) throw malformed(`the path ${path}`, 'path', at - blockSize);
  return `/${names.join('/')}`;
}

function text(bytes: Buffer, at: number, length: number): string {
  const end = bytes.subarray(at, at + length).indexOf(0);
  return bytes.toString('utf8', at, end < 0 ? at + length : at + end);
}

/** Octal digits, or as GNU writes what is too large for these: bit 7 set, big-endian. */
function number(bytes: Buffer, at: number, length: number, field: string, offset: number): number {
  if (bytes[at] === 0x80) {
    const value = bytes.readUIntBE(at + length - 6, 6);
    if (bytes.subarray(at + 1, at + length - 6).every((byte) => byte === 0)) return value;
    throw malformed('a number that is too large', field, offset + at);
  }
  const digits = /^ *([0-7]*)[ \0]*$/.exec(bytes.toString('latin1', at, at + length))?.[1];
  if (digits === undefined) throw malformed('no number', field, offset + at);
  return Number.parseInt(digits || '0', 8);
}

function isZero(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

function checkedSize(size: number, allowed: number, at: number): number {
  if (size > allowed) throw tooLarge(`an entry of ${size} bytes`, 'size', at);
  return size;
}

/** Bytes in order, as many as are asked for. */
class ByteSource {
  /** Offset of the next byte. */
  at = 0;
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async take(count: number, field: string): Promise<Buffer> {
    const parts: Buffer[] = [];
    await this.skip(count, (part) => parts.push(part), field);
    return Buffer.concat(parts);
  }

  async skip(count: number, see: (part: Buffer) => void = () => {}, field = 'content'): Promise<void> {
    for (let left = count; left > 0; ) {
      if (this.#rest.length === 0 && !(await this.#next()))
        throw malformed(`the archive ends, and ${left} bytes more belong to it`, field, this.at);
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      this.at += part.length;
      left -= part.length;
      see(part);
    }
  }

  /** Whoever packed it finds out that all of it was taken. */
  async drain(): Promise<void> {
    while (await this.#next()) if (this.at > most.bytes) throw tooLarge('no end', 'padding', this.at);
  }

  /** A reader that is no longer needed releases its resources. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  async #next(): Promise<boolean> {
    this.at += this.#rest.length;
    const { done, value } = await this.#chunks.next();
    this.#rest = done === true ? Buffer.alloc(0) : value;
    return done !== true;
  }
}

function malformed(what: string, field: string, offset: number): Rejection {
  return new Rejection('malformed', `no archive of tar: ${what}`, { field, offset });
}

function tooLarge(what: string, field: string, offset: number): Rejection {
  return new Rejection('too_large', `an archive of tar with ${what}`, { field, offset });
}
