import { InitrdError } from './initrd-error.ts';

/** Where a frame of zstd ends: RFC 8878, section 3.1.1. Its blocks say how long they are. */
export class FrameEnd {
  #state: 'descriptor' | 'header' | 'block' | 'content' | 'checksum' | 'done' = 'descriptor';
  /** The bytes collected so far: header of the frame, or of a block. */
  readonly #held = Buffer.alloc(32);
  #filled = 0;
  #needed = 5;
  /** The bytes still to pass over. */
  #left = 0;
  #isLast = false;
  #hasChecksum = false;

  get isDone(): boolean {
    return this.#state === 'done';
  }

  /**
   * @returns how many of the bytes belong to the frame
   * @throws InitrdError
   */
  take(chunk: Buffer): number {
    let at = 0;
    while (at < chunk.length && this.#state !== 'done') {
      if (this.#state === 'content' || this.#state === 'checksum') {
        const passed = Math.min(this.#left, chunk.length - at);
        at += passed;
        this.#left -= passed;
        if (this.#left === 0) this.#endOfBlock();
      } else {
        const part = chunk.subarray(at, at + this.#needed - this.#filled);
        part.copy(this.#held, this.#filled);
        this.#filled += part.length;
        at += part.length;
        if (this.#filled === this.#needed) this.#collected();
      }
    }
    return at;
  }

  #collected(): void {
    if (this.#state === 'descriptor') {
      if (this.#held.readUInt32LE(0) !== 0xfd2fb528) throw new InitrdError('no zstd of today');
      this.#state = 'header';
      this.#needed = 5 + restOfHeader(this.#held.readUInt8(4));
      if (this.#needed > this.#filled) return;
    }
    if (this.#state === 'header') {
      const descriptor = this.#held.readUInt8(4);
      checkWindow(windowOf(this.#held, descriptor));
      this.#hasChecksum = (descriptor & 0x04) !== 0;
      this.#awaitBlock();
      return;
    }
    const header = this.#held.readUIntLE(0, 3);
    const type = (header >> 1) & 3;
    if (type === 3) throw new InitrdError('zstd with a block of a type that there is not');
    this.#isLast = (header & 1) !== 0;
    this.#left = type === 1 ? 1 : header >> 3;
    this.#state = 'content';
    if (this.#left === 0) this.#endOfBlock();
  }

  #endOfBlock(): void {
    if (this.#state === 'checksum') this.#state = 'done';
    else if (!this.#isLast) this.#awaitBlock();
    else if (this.#hasChecksum) {
      this.#state = 'checksum';
      this.#left = 4;
    } else this.#state = 'done';
  }

  #awaitBlock(): void {
    this.#state = 'block';
    this.#filled = 0;
    this.#needed = 3;
  }
}

/** The kernel takes 128 MiB; what people type for an initrd needs 8 (`zstd -19`). */
const mostWindow = 32 * 1024 * 1024;

/** Bytes after the descriptor: window, dictionary, size of the content. */
function restOfHeader(descriptor: number): number {
  return windowBytes(descriptor) + dictionaryBytes(descriptor) + sizeBytes(descriptor);
}

function isSingle(descriptor: number): boolean {
  return (descriptor & 0x20) !== 0;
}

function windowBytes(descriptor: number): number {
  return isSingle(descriptor) ? 0 : 1;
}

function dictionaryBytes(descriptor: number): number {
  return [0, 1, 2, 4][descriptor & 3] ?? 0;
}

function sizeBytes(descriptor: number): number {
  return [isSingle(descriptor) ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
}

/** The memory that unpacking needs. */
function windowOf(header: Buffer, descriptor: number): number {
  if (!isSingle(descriptor)) {
    const window = header.readUInt8(5);
    const base = 2 ** (10 + (window >> 3));
    return base + (base / 8) * (window & 7);
  }
  const at = 5 + dictionaryBytes(descriptor);
  const bytes = sizeBytes(descriptor);
  if (bytes === 8) return Number(header.readBigUInt64LE(at));
  return header.readUIntLE(at, bytes) + (bytes === 2 ? 256 : 0);
}

function checkWindow(bytes: number): void {
  if (bytes > mostWindow)
    throw new InitrdError(`zstd that needs a window of ${bytes} bytes, more than ${mostWindow}`, 'too_large');
}
