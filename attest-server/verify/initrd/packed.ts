import { createInflateRaw, createZstdDecompress, type InflateRaw, type ZstdDecompress } from 'node:zlib';
import { InitrdError } from './initrd-error.ts';
import { FrameEnd } from './zstd-frame.ts';

/** One member of gzip, or one frame of zstd: what the kernel unpacks before it looks what comes next. */
export interface PackedStream {
  readonly isDone: boolean;
  /**
   * @returns how many of the bytes belong to it
   * @throws InitrdError
   */
  take(chunk: Buffer): Promise<number>;
  /** Nothing of it is needed any more; also while `take` runs. */
  close(): void;
}

/** Unpacked bytes in one piece. */
const pieceBytes = 64 * 1024;

/**
 * As lib/decompress_inflate.c reads it: ten bytes, a file's name, deflate, eight bytes. It does not compare the checksum; the
 * image's digest vouches for more.
 */
export class GzipMember implements PackedStream {
  readonly #stream: UnpackStream;
  #state: 'header' | 'name' | 'data' | 'trailer' | 'done' = 'header';
  #seen = 0;
  #flags = 0;

  constructor(give: (piece: Buffer) => void) {
    this.#stream = new UnpackStream(createInflateRaw({ chunkSize: pieceBytes }), give);
  }

  get isDone(): boolean {
    return this.#state === 'done';
  }

  async take(chunk: Buffer): Promise<number> {
    let at = 0;
    while (at < chunk.length && this.#state !== 'done') {
      if (this.#state === 'data') {
        const used = await this.#stream.write(chunk.subarray(at));
        if (at + used < chunk.length) {
          this.#state = 'trailer';
          this.#seen = 0;
        }
        at += used;
      } else this.#takeByte(chunk[at++] ?? 0);
    }
    return at;
  }

  close(): void {
    this.#stream.close();
  }

  #takeByte(byte: number): void {
    const index = this.#seen++;
    if (this.#state === 'name') {
      if (byte === 0) this.#state = 'data';
    } else if (this.#state === 'trailer') {
      if (this.#seen === 8) this.#state = 'done';
    } else {
      if (index < 3 && byte !== [0x1f, 0x8b, 0x08][index])
        throw new InitrdError('no gzip that the kernel unpacks');
      if (index === 3) this.#flags = byte;
      if (this.#seen < 10) return;
      // Attack: the kernel knows no other member of the header, and unpacks what others pass over.
      if ((this.#flags & ~0x09) !== 0)
        throw new InitrdError('gzip with a header that the kernel does not know');
      this.#state = (this.#flags & 0x08) === 0 ? 'data' : 'name';
    }
  }
}

/** As lib/decompress_unzstd.c reads it: one frame, and none that is to be skipped. */
export class ZstdFrame implements PackedStream {
  readonly #stream: UnpackStream;
  readonly #frame = new FrameEnd();

  constructor(give: (piece: Buffer) => void) {
    this.#stream = new UnpackStream(createZstdDecompress({ chunkSize: pieceBytes }), give);
  }

  get isDone(): boolean {
    return this.#frame.isDone;
  }

  async take(chunk: Buffer): Promise<number> {
    const bytes = this.#frame.take(chunk);
    const used = await this.#stream.write(chunk.subarray(0, bytes));
    if (used < bytes) throw new InitrdError('zstd that ends before its frame does');
    if (this.#frame.isDone) await this.#stream.end();
    return bytes;
  }

  close(): void {
    this.#stream.close();
  }
}

/** A stream of Node's that is given one piece after the other, and whose end is waited for. */
class UnpackStream {
  readonly #unpacking: InflateRaw | ZstdDecompress;
  #error: Error | null = null;
  #settle: (() => void) | null = null;

  /** @param give keeps nothing of the piece */
  constructor(unpacking: InflateRaw | ZstdDecompress, give: (piece: Buffer) => void) {
    this.#unpacking = unpacking;
    const settle = () => this.#settle?.();
    unpacking
      .on('data', (piece: Buffer<ArrayBuffer>) => {
        give(piece);
        giveBack(piece);
      })
      .on('error', (error) => {
        this.#error = error;
        settle();
      })
      .on('end', settle)
      .on('close', settle);
  }

  /** Whether nothing more will be heard of it. */
  get #isOver(): boolean {
    return this.#unpacking.readableEnded || this.#unpacking.destroyed;
  }

  /** @returns how many bytes it took: fewer than all are there beyond its end */
  async write(piece: Buffer): Promise<number> {
    const before = this.#unpacking.bytesWritten;
    if (this.#isOver) return 0;
    await this.#settled((done) => this.#unpacking.write(piece, done));
    return this.#unpacking.bytesWritten - before;
  }

  async end(): Promise<void> {
    if (!this.#isOver) await this.#settled(() => this.#unpacking.end());
  }

  close(): void {
    this.#unpacking.destroy();
  }

  async #settled(start: (done: () => void) => void): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#settle = resolve;
      start(resolve);
    });
    this.#settle = null;
    if (this.#error !== null) throw new InitrdError(`packed bytes that are damaged (${codeOf(this.#error)})`);
  }
}

/**
 * zlib unpacks into one new buffer after the other, and these would wait for a collection by the hundred. What ends where its
 * buffer does was the last of it.
 */
function giveBack({ buffer, byteOffset, byteLength }: Buffer<ArrayBuffer>): void {
  if (buffer.byteLength === pieceBytes && byteOffset + byteLength === pieceBytes) buffer.transfer(0);
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}
