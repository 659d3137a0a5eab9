import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  S_IFSOCK,
  typeOfMode,
} from '../../formats/file-type.ts';
import { outsideText, printable } from '../../wire/printable.ts';
import { ArchivedFile } from './archived-file.ts';
import type { InitrdBounds } from './bounds.ts';
import { type CpioHeader, headerBytes, PATH_MAX, parseHeader } from './cpio-header.ts';
import { PathFault } from './folders.ts';
import { InitrdError } from './initrd-error.ts';
import type { RootTree } from './root-tree.ts';

/** The calls made while archives are read. */
export interface CpioListener {
  /** Whether the file of that path is kept whole. */
  keepsContent(path: string): boolean;
  /** A header begins one, at that byte of what it is in. */
  beginArchive(at: number): void;
  onEntry(): void;
  /** The kernel does not make an entry as it stands there, or it is not sure where; the reading goes on. */
  onPathFault(text: string): void;
}

/**
 * Archives in the form newc, read as they come. It ends only between entries, where something else than zeros and a header
 * comes: init/initramfs.c leaves such bytes to whoever gave them.
 */
export class CpioReader {
  readonly contents = new Map<string, Buffer>();
  readonly #tree: RootTree;
  readonly #bounds: InitrdBounds;
  readonly #listener: CpioListener;
  #state: 'between' | 'header' | 'name' | 'file' | 'padding' = 'header';
  /** Bytes of this segment so far; headers begin at multiples of four. */
  #at = 0;
  #held = Buffer.alloc(headerBytes + PATH_MAX + 4 + PATH_MAX);
  #filled = 0;
  #needed = headerBytes;
  #header: CpioHeader | null = null;
  #file: ArchivedFile | null = null;
  #left = 0;
  #names = 0;
  #kept = 0;
  #isInArchive = false;

  constructor(tree: RootTree, bounds: InitrdBounds, listener: CpioListener) {
    this.#tree = tree;
    this.#bounds = bounds;
    this.#listener = listener;
  }

  /** Whether what came ends where an entry ends. */
  get isBetween(): boolean {
    return this.#state === 'between' || (this.#state === 'padding' && this.#at % 4 === 0);
  }

  /** The same, or in the zeros that follow one. */
  get isComplete(): boolean {
    return this.#state === 'between' || this.#state === 'padding';
  }

  /** The next bytes are the first of something that is unpacked, or stand there in the image. */
  begin(at: number): void {
    this.#at = at;
    // The first of all has to begin at once.
    this.#isInArchive = this.#state === 'header';
    if (this.#isInArchive) this.#listener.beginArchive(at);
  }

  /**
   * @returns how many of the bytes were archives
   * @throws InitrdError
   */
  take(chunk: Buffer): number {
    let at = 0;
    while (at < chunk.length) {
      const used = this.#step(chunk.subarray(at));
      if (used === null) return at;
      at += used;
      this.#at += used;
    }
    return at;
  }

  /** Null: what comes is nothing of an archive. */
  #step(chunk: Buffer): number | null {
    switch (this.#state) {
      case 'between':
        return this.#skipZeros(chunk);
      case 'header':
      case 'name':
        return this.#collect(chunk);
      case 'file': {
        const part = chunk.subarray(0, this.#left);
        this.#file?.add(part);
        this.#left -= part.length;
        if (this.#left === 0) this.#endFile();
        return part.length;
      }
      default: {
        // Up to the next multiple of four, whatever it holds.
        const used = Math.min((4 - (this.#at % 4)) % 4, chunk.length);
        if ((this.#at + used) % 4 === 0) this.#state = 'between';
        return used;
      }
    }
  }

  #skipZeros(chunk: Buffer): number | null {
    let used = 0;
    while (used < chunk.length && chunk[used] === 0) used++;
    if (used > 0 || used === chunk.length) return used;
    if (chunk[0] !== 0x30 || this.#at % 4 !== 0) return null;
    this.#state = 'header';
    this.#needed = headerBytes;
    if (!this.#isInArchive) this.#listener.beginArchive(this.#at);
    this.#isInArchive = true;
    return 0;
  }

  #collect(chunk: Buffer): number {
    const part = chunk.subarray(0, this.#needed - this.#filled);
    part.copy(this.#held, this.#filled);
    this.#filled += part.length;
    if (this.#filled < this.#needed) return part.length;
    if (this.#state === 'header') this.#beginEntry(parseHeader(this.#held));
    else this.#nameEntry();
    return part.length;
  }

  #beginEntry(header: CpioHeader): void {
    const { bytes, nameBytes, mode } = header;
    // The kernel passes such entries over, and some versions lose their place thereby.
    if (nameBytes === 0 || nameBytes > PATH_MAX) throw new InitrdError(`a name of ${nameBytes} bytes`);
    const isLink = typeOfMode(mode) === S_IFLNK;
    if (isLink && bytes > PATH_MAX) throw new InitrdError(`a link to ${bytes} bytes`);
    if (isLink && bytes === 0) throw new InitrdError('a link to nothing');
    if (!isLink && typeOfMode(mode) !== S_IFREG && bytes > 0)
      throw new InitrdError('bytes of what is no file');
    this.#header = header;
    this.#state = 'name';
    this.#needed = headerBytes + nameEnd(nameBytes) + (isLink ? bytes : 0);
  }

  #nameEntry(): void {
    const header = this.#header;
    if (header === null) return;
    const { nameBytes, mode } = header;
    const name = this.#held.subarray(headerBytes, headerBytes + nameBytes);
    const target = this.#held.subarray(headerBytes + nameEnd(nameBytes), this.#needed);
    this.#filled = 0;
    this.#state = 'padding';
    // Attack: a name that ends elsewhere for who goes by its length than for who goes by its zero.
    const length = name.indexOf(0);
    if (length < 0) throw new InitrdError('a name without its end');
    if (name.subarray(length).some((byte) => byte !== 0)) throw new InitrdError('a name with a zero in it');
    if (length === 0) throw new InitrdError('an entry without a name');
    if (typeOfMode(mode) !== S_IFLNK && name.toString('latin1', 0, length) === 'TRAILER!!!')
      this.#endArchive(header);
    else this.#makeEntry(header, name.subarray(0, length), target);
  }

  #makeEntry(header: CpioHeader, name: Buffer, target: Buffer): void {
    const type = typeOfMode(header.mode);
    if (this.#tree.size >= this.#bounds.entries)
      throw new InitrdError(`more than ${this.#bounds.entries} entries`, 'too_large');
    this.#names += name.length + target.length;
    if (this.#names > this.#bounds.names)
      throw new InitrdError(`names of more than ${this.#bounds.names} bytes`, 'too_large');
    if (!madeTypes.has(type))
      throw new InitrdError(`an entry of a type that there is not, ${type.toString(8)}`);
    if (target.includes(0)) throw new InitrdError('a link to a name with a zero in it');
    this.#listener.onEntry();
    const text = this.#readable(name);
    if (type === S_IFREG) this.#beginFile(header, text);
    else this.#make(header, text, type === S_IFLNK ? this.#readable(target) : undefined);
  }

  #make(header: CpioHeader, name: string, target: string | undefined): void {
    try {
      this.#tree.make(header, name, target);
    } catch (error) {
      if (!(error instanceof PathFault)) throw error;
      this.#onPathFault(name, error);
    }
  }

  #endArchive({ bytes }: CpioHeader): void {
    if (bytes > 0) throw new InitrdError('a trailer that holds bytes');
    this.#tree.endArchive();
    this.#isInArchive = false;
  }

  #beginFile(header: CpioHeader, name: string): void {
    const { bytes } = header;
    const made = this.#tree.makeFile(header, name);
    if (made.fault !== null) this.#onPathFault(name, made.fault);
    const isKept =
      bytes <= this.#bounds.contentBytes &&
      this.#kept + bytes <= this.#bounds.contentsBytes &&
      this.#listener.keepsContent(made.listed.path);
    this.#file = new ArchivedFile(made, bytes, isKept, header.checksum);
    this.#left = bytes;
    this.#state = 'file';
    if (bytes === 0) this.#endFile();
  }

  #endFile(): void {
    const file = this.#file;
    this.#file = null;
    this.#state = 'padding';
    if (file === null) return;
    const sha256 = file.digest();
    this.#tree.fill(file.made, file.bytes, sha256);
    const content = file.content();
    if (content !== null && !this.contents.has(sha256)) {
      this.contents.set(sha256, content);
      this.#kept += content.length;
    }
    if (!file.hasItsSum()) throw new InitrdError('a file whose checksum is another one');
  }

  /** A name that people can read, as a tree of names that are text needs it. */
  #readable(bytes: Buffer): string {
    const text = bytes.toString('utf8');
    const shown = printable(text);
    if (shown === text && Buffer.from(text).equals(bytes)) return text;
    const latin = outsideText(bytes.toString('latin1'));
    this.#listener.onPathFault(`${latin}: it holds bytes that are no characters that can be shown`);
    return latin;
  }

  #onPathFault(name: string, { message }: PathFault): void {
    this.#listener.onPathFault(`${name}: ${message}`);
  }
}

const madeTypes: ReadonlySet<number> = new Set([
  ...[S_IFSOCK, S_IFLNK, S_IFREG, S_IFBLK, S_IFDIR, S_IFCHR, S_IFIFO],
]);

/** Bytes of a name with what fills header and name up to a multiple of four. */
function nameEnd(nameBytes: number): number {
  return ((nameBytes + 1) & ~3) + 2;
}
