/**
 * The bytes of an initrd become, as they come, a manifest of all that the kernel makes of them. `initrd-reader`
 * knows archives and what is packed (`packed`, `zstd-frame`), `cpio` reads entries, and `folders` and
 * `root-tree` have folders, links and names as the kernel has them.
 */

import { createHash } from 'node:crypto';
import {
  type InitrdArchive,
  type InitrdFault,
  type InitrdManifest,
  imageBanks,
} from '../../formats/initrd-manifest.ts';
import { outsideText } from '../../wire/printable.ts';
import { Rejection } from '../../wire/rejection.ts';
import { type InitrdBounds, initrdBounds } from './bounds.ts';
import { CpioReader } from './cpio.ts';
import { InitrdError } from './initrd-error.ts';
import { compressionOf, hasBootConfig, tailBytes } from './magic.ts';
import { GzipMember, type PackedStream, ZstdFrame } from './packed.ts';
import { RootTree } from './root-tree.ts';

export interface InitrdOptions {
  /** Whether the file at a path is kept whole; the path is as the kernel has it, without a slash before it. */
  readonly keepsContent?: (path: string) => boolean;
  readonly bounds?: InitrdBounds;
}

/**
 * Makes the manifest of an image that comes piece by piece, as the kernel unpacks it (init/initramfs.c): archives one after
 * the other, as they are, in members of gzip or frames of zstd. Nothing is written anywhere, and where pieces end does not
 * matter. Whatever the kernel would do with what it cannot read, here it is a fault, and all after it is not looked at.
 */
export class InitrdReader {
  readonly #bounds: InitrdBounds;
  readonly #hashes = imageBanks.map((bank) => createHash(bank));
  readonly #tree = new RootTree();
  readonly #cpio: CpioReader;
  readonly #archives: { -readonly [Member in keyof InitrdArchive]: InitrdArchive[Member] }[] = [];
  readonly #faults: InitrdFault[] = [];
  /** Unpackers get the same bytes however the image was cut, or where their errors are seen would depend on it. */
  readonly #chunk = Buffer.allocUnsafeSlow(stepBytes);
  #filled = 0;
  /** Bytes of the image that were looked at, and of all that was unpacked of them. */
  #at = 0;
  #unpacked = 0;
  #mode: 'between' | 'archive' | 'packed' | 'stopped' = 'between';
  /** The first of two bytes that say how something is packed. */
  #firstByte: number | null = null;
  #packed: PackedStream | null = null;
  /** The error of what was unpacked, while the unpacker runs. */
  #error: unknown = null;
  #tail = Buffer.alloc(0);
  #isBusy = false;

  constructor({ keepsContent = () => false, bounds = initrdBounds }: InitrdOptions = {}) {
    this.#bounds = bounds;
    this.#cpio = new CpioReader(this.#tree, bounds, {
      keepsContent,
      beginArchive: (offset) => {
        if (this.#mode === 'archive') this.#beginArchive(offset, 'none');
      },
      onEntry: () => {
        const archive = this.#archives.at(-1);
        if (archive !== undefined) archive.entries++;
      },
      onPathFault: (text) => {
        if (this.#faults.length < mostPathFaults) this.#tell('path', this.#archiveAt, text);
      },
    });
  }

  /**
   * The next piece; the one after it waits for the promise. Whoever serves others gives them a turn after each `stepBytes`.
   * @throws Rejection `too_large`
   */
  async push(piece: Buffer): Promise<void> {
    if (this.#isBusy) throw new Error('a piece of an initrd came before the one before it was read');
    this.#isBusy = true;
    for (let at = 0; at < piece.length; ) {
      const part = piece.subarray(at, at + stepBytes - this.#filled);
      part.copy(this.#chunk, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === stepBytes) await this.#takeChunk();
    }
    this.#isBusy = false;
  }

  /**
   * All of the image came.
   * @throws Rejection `too_large`
   */
  async end(): Promise<InitrdManifest> {
    await this.#takeChunk();
    this.#checkEnd();
    this.close();
    const [sha256 = '', sha384 = '', sha512 = ''] = this.#hashes.map((hash) => hash.digest('hex'));
    return {
      version: 1,
      image: { bytes: this.#at, sha256, sha384, sha512 },
      archives: this.#archives,
      entries: this.#tree.entries(),
      contents: Object.fromEntries(
        [...this.#cpio.contents].map(([digest, bytes]) => [digest, bytes.toString('base64')]),
      ),
      faults: this.#faults,
    };
  }

  /** The rest of the image will not come. */
  close(): void {
    this.#packed?.close();
    this.#packed = null;
  }

  async #takeChunk(): Promise<void> {
    const chunk = this.#chunk.subarray(0, this.#filled);
    const begin = this.#at;
    this.#filled = 0;
    if (begin + chunk.length > this.#bounds.imageBytes)
      throw new Rejection('too_large', `an initrd of more than ${this.#bounds.imageBytes} bytes`);
    for (const hash of this.#hashes) hash.update(chunk);
    this.#tail = Buffer.concat([this.#tail, chunk.subarray(-tailBytes)]).subarray(-tailBytes);
    while (this.#at < begin + chunk.length) this.#at += await this.#take(chunk.subarray(this.#at - begin));
  }

  /** How many of the bytes were taken; none if they are now something else. */
  async #take(bytes: Buffer): Promise<number> {
    try {
      if (this.#mode === 'stopped') return bytes.length;
      if (this.#mode === 'packed') return await this.#takePacked(bytes);
      return this.#mode === 'archive' ? this.#takeArchive(bytes) : await this.#takeBetween(bytes);
    } catch (error) {
      if (!(error instanceof InitrdError)) throw error;
      this.#stop(error.code, this.#archiveAt, error.message);
      return bytes.length;
    }
  }

  /** Zeros, an archive as it is, or the start of something packed. */
  async #takeBetween(bytes: Buffer): Promise<number> {
    const [byte = 0] = bytes;
    if (this.#firstByte !== null) return this.#beginPacked(this.#firstByte, byte);
    if (byte === 0) {
      const end = bytes.findIndex((one) => one !== 0);
      return end < 0 ? bytes.length : end;
    }
    if (byte === zeroDigit && this.#at % 4 === 0) {
      this.#mode = 'archive';
      this.#cpio.begin(this.#at);
      return 0;
    }
    this.#firstByte = byte;
    return 1;
  }

  #takeArchive(bytes: Buffer): number {
    const taken = this.#cpio.take(bytes);
    this.#count(taken);
    if (taken === bytes.length) return taken;
    this.#mode = 'between';
    // The kernel looks at what follows only where it begins at a multiple of four.
    if ((this.#at + taken) % 4 !== 0)
      throw new InitrdError('zeros after an archive that end between multiples of four bytes');
    return taken;
  }

  async #beginPacked(first: number, second: number): Promise<number> {
    const offset = this.#at - 1;
    const compression = compressionOf(first, second);
    this.#firstByte = null;
    if (compression === null) {
      const code = this.#archives.length === 0 ? 'malformed' : 'trailing';
      return this.#stop(code, offset, 'neither an archive nor anything that the kernel unpacks');
    }
    if (compression !== 'gzip' && compression !== 'zstd')
      return this.#stop('compression', offset, `${compression}, which is not unpacked here`);
    this.#beginArchive(offset, compression);
    this.#mode = 'packed';
    this.#cpio.begin(0);
    const Member = compression === 'gzip' ? GzipMember : ZstdFrame;
    this.#packed = new Member((piece) => this.#takeUnpacked(piece));
    await this.#takePacked(Buffer.of(first));
    return 0;
  }

  async #takePacked(bytes: Buffer): Promise<number> {
    const packed = this.#packed;
    if (packed === null) return bytes.length;
    // What was wrong with unpacked bytes ended the unpacker, which then has an error of its own.
    const taken = await packed.take(bytes).catch((error: unknown) => {
      throw this.#error ?? error;
    });
    if (this.#error !== null) throw this.#error;
    if (!packed.isDone) return taken;
    this.close();
    this.#mode = 'between';
    if (!this.#cpio.isBetween)
      throw new InitrdError('something packed that ends within an entry of its archive');
    return taken;
  }

  /** Called by a stream, to which nothing may be thrown. */
  #takeUnpacked(piece: Buffer): void {
    if (this.#error !== null) return;
    try {
      this.#count(piece.length);
      if (this.#cpio.take(piece) < piece.length)
        throw new InitrdError('something packed that holds something else than archives');
    } catch (error) {
      this.#error = error;
      this.#packed?.close();
    }
  }

  #count(unpacked: number): void {
    const { unpackedBytes, ratio } = this.#bounds;
    this.#unpacked += unpacked;
    const most = Math.min(unpackedBytes, ratio.from + ratio.times * this.#at);
    if (this.#unpacked > most)
      throw new InitrdError(`more than ${most} bytes, unpacked of ${this.#at}`, 'too_large');
  }

  #beginArchive(offset: number, compression: InitrdArchive['compression']): void {
    if (this.#archives.length >= this.#bounds.archives)
      throw new InitrdError(`more than ${this.#bounds.archives} archives`, 'too_large');
    this.#archives.push({ offset, compression, entries: 0 });
  }

  /** Where the archive begins that is read. */
  get #archiveAt(): number {
    return this.#archives.at(-1)?.offset ?? this.#at;
  }

  #checkEnd(): void {
    if (this.#packed !== null) this.#stop('malformed', this.#archiveAt, 'something packed that is cut off');
    if (this.#firstByte !== null) this.#stop('trailing', this.#at - 1, 'a last byte that is nothing');
    if (this.#mode === 'archive' && !this.#cpio.isComplete)
      this.#stop('malformed', this.#archiveAt, 'an archive that is cut off');
    // Attack: the next image that the loader reads writes into files of this one.
    if (this.#mode !== 'stopped' && this.#tree.mayGoOn)
      this.#tell('malformed', this.#archiveAt, 'files with several names in an archive that has no end');
    if (hasBootConfig(this.#tail))
      this.#tell(
        'trailing',
        this.#at - this.#tail.length,
        'a boot configuration for the kernel’s command line',
      );
  }

  #stop(code: InitrdFault['code'], offset: number, text: string): number {
    this.close();
    this.#mode = 'stopped';
    this.#tell(code, offset, text);
    return 0;
  }

  #tell(code: InitrdFault['code'], offset: number, text: string): void {
    this.#faults.push({ offset, code, text: outsideText(text) });
  }
}

/** Bytes that take some milliseconds to read. */
export const stepBytes = 64 * 1024;
const mostPathFaults = 16;
/** With which headers of archives begin. */
const zeroDigit = 0x30;
