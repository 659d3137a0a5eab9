import { Rejection } from '../wire/rejection.ts';

/** One DER element. `offset` is where its tag stands in the whole input, `start` where its content begins. */
export interface DerElement {
  readonly tag: number;
  readonly offset: number;
  readonly start: number;
  readonly content: Buffer;
}

/** Tags of ITU-T X.690 that certificates use. */
export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
  set: 0x31,
} as const;

/**
 * Reads DER elements front to back within a part of the input, and never past it. Faults are Rejections `malformed`
 * whose offset counts from the input's first byte, however deep the element lies.
 */
export class DerReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;

  constructor(bytes: Buffer, start = 0, end: number = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  /** The next element's tag, which stays unread; undefined at the end. */
  peek(): number | undefined {
    return this.#at < this.#end ? this.#bytes[this.#at] : undefined;
  }

  /** The next element, whatever its tag. */
  any(field: string): DerElement {
    const offset = this.#at;
    const found = this.#byte(field);
    if ((found & 0x1f) === 0x1f) throw this.fault(field, `${field} has a DER tag of several bytes`, offset);
    const length = this.#length(field);
    const left = this.#end - this.#at;
    if (length > left)
      throw this.fault(field, `${field} takes ${length} bytes, and ${left} are left`, offset);
    const start = this.#at;
    this.#at += length;
    return { tag: found, offset, start, content: this.#bytes.subarray(start, this.#at) };
  }

  /** The next element, which must have this tag. */
  take(expected: number, field: string): DerElement {
    const offset = this.#at;
    const element = this.any(field);
    if (element.tag === expected) return element;
    throw this.fault(field, `${field} has DER tag ${element.tag}, not ${expected}`, offset);
  }

  /** Reads within the next element, which must have this tag. */
  inside(expected: number, field: string): DerReader {
    return this.within(this.take(expected, field));
  }

  /** Reads within an element of the same input. */
  within({ start, content }: DerElement): DerReader {
    return new DerReader(this.#bytes, start, start + content.length);
  }

  /** Refuses bytes left over after `field`, the last one. */
  end(field: string): void {
    if (this.#at !== this.#end)
      throw this.fault(field, `${this.#end - this.#at} bytes follow after ${field}`);
  }

  fault(field: string, text: string, offset: number = this.#at): Rejection {
    return new Rejection('malformed', `${text}, at offset ${offset} of the DER`, { field, offset });
  }

  #length(field: string): number {
    const offset = this.#at;
    const first = this.#byte(field);
    if (first < 0x80) return first;
    if (first === 0x81) return this.#byte(field);
    if (first === 0x82) return this.#byte(field) * 256 + this.#byte(field);
    throw this.fault(field, `${field} has a DER length of another form`, offset);
  }

  #byte(field: string): number {
    const byte = this.peek();
    if (byte === undefined) throw this.fault(field, `${field} is cut short`);
    this.#at += 1;
    return byte;
  }
}
