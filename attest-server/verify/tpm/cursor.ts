import { Rejection } from '../../wire/rejection.ts';

/**
 * Reads a structure front to back. TPM structures are big-endian, the event log is little-endian. Nothing is
 * read past the end and nothing is allocated: `bytes` and `rest` are views into the buffer given.
 * Every method that reads throws Rejection `malformed` with the field's name and its byte offset.
 */
export class Cursor {
  readonly #bytes: Buffer;
  readonly #littleEndian: boolean;
  #offset = 0;
  #ranOut = false;

  constructor(bytes: Buffer, endian: 'big' | 'little' = 'big') {
    this.#bytes = bytes;
    this.#littleEndian = endian === 'little';
  }

  /** Something took more bytes than there were. */
  get ranOut(): boolean {
    return this.#ranOut;
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** The next byte, which stays unread; undefined at the end. */
  peek(): number | undefined {
    return this.#bytes[this.#offset];
  }

  u8(field: string): number {
    const at = this.#take(1, field);
    return this.#bytes.readUInt8(at);
  }

  u16(field: string): number {
    const at = this.#take(2, field);
    return this.#littleEndian ? this.#bytes.readUInt16LE(at) : this.#bytes.readUInt16BE(at);
  }

  u32(field: string): number {
    const at = this.#take(4, field);
    return this.#littleEndian ? this.#bytes.readUInt32LE(at) : this.#bytes.readUInt32BE(at);
  }

  u64(field: string): bigint {
    const at = this.#take(8, field);
    return this.#littleEndian ? this.#bytes.readBigUInt64LE(at) : this.#bytes.readBigUInt64BE(at);
  }

  /** The next `count` bytes, as a view. */
  bytes(count: number, field: string): Buffer {
    const at = this.#take(count, field);
    return this.#bytes.subarray(at, at + count);
  }

  /** Passes over the next `count` bytes and tells where they begin. */
  skip(count: number, field: string): number {
    return this.#take(count, field);
  }

  /** A TPM2B: a 16-bit size, then that many bytes, as a view. */
  sized(field: string): Buffer {
    return this.bytes(this.u16(`${field}.size`), field);
  }

  /** All that is left, as a view. */
  rest(): Buffer {
    const at = this.#offset;
    this.#offset = this.#bytes.length;
    return this.#bytes.subarray(at);
  }

  /** Refuses bytes left over after `field`, the last one. */
  end(field: string): void {
    if (this.remaining === 0) return;
    throw this.fault(field, `${this.remaining} bytes follow after ${field}`);
  }

  /** A Rejection `malformed` at the present offset, for a value that the caller finds wrong. */
  fault(field: string, text: string, offset: number = this.#offset): Rejection {
    return new Rejection('malformed', text, { field, offset });
  }

  /** The same for a value by which the structure goes on behind its end. */
  shortage(field: string, text: string, offset: number): Rejection {
    this.#ranOut = true;
    return this.fault(field, text, offset);
  }

  #take(count: number, field: string): number {
    const at = this.#offset;
    const left = this.#bytes.length - at;
    if (!Number.isSafeInteger(count) || count < 0 || count > left)
      throw this.shortage(field, `${field} takes ${count} bytes at offset ${at}, and ${left} are left`, at);
    this.#offset = at + count;
    return at;
  }
}
