import { Rejection } from '../../wire/rejection.ts';
import { binaryForm, isAscii } from './ascii-form.ts';
import { EntryView } from './entry.ts';

/**
 * A list in either form.
 * @param digestBytes of the template's digest in each entry, where it is known since the list's start; else null
 */
export function* openList(chunks: readonly Buffer[], digestBytes: number | null): Generator<void, ListBytes> {
  if (digestBytes !== null) return new ListBytes(chunks, digestBytes, null);
  const begin = beginOf(chunks);
  if (!isAscii(begin)) return new ListBytes(chunks, digestBytesOf(begin), null);
  const form = yield* binaryForm(chunks);
  return new ListBytes(form.chunks, sha1Bytes, form.fault);
}

/** As much as a header takes. */
function beginOf(chunks: readonly Buffer[]): Buffer {
  let begin = Buffer.alloc(0);
  for (const chunk of chunks) {
    if (begin.length >= headerBytes) break;
    begin = Buffer.concat([begin, chunk.subarray(0, headerBytes)]);
  }
  return begin;
}

const headerBytes = 256;
const sha1Bytes = 20;

/**
 * The kernel's first file has SHA-1 digests; from 6.10 on each bank has a file of its own. Only whether a digest is zero
 * counts, so that it does no harm where the bytes can be read in two ways.
 */
function digestBytesOf(begin: Buffer): number {
  return [sha1Bytes, 32, 48, 64].find((size) => hasTemplate(begin, size)) ?? sha1Bytes;
}

function hasTemplate(begin: Buffer, digestBytes: number): boolean {
  const entry = new EntryView();
  try {
    entry.frame(begin, 0, digestBytes);
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
  }
  return entry.template !== '';
}

/** The chunks of a list, which are cut at whole entries as they are read: it is read several times. */
export class ListBytes {
  readonly #chunks: Buffer[];
  /** The size of the template's digest in each entry. */
  readonly digestBytes: number;
  /** The fault in the bytes behind these; null if they are sound, or there are none. */
  readonly fault: Rejection | null;

  constructor(chunks: readonly Buffer[], digestBytes: number, fault: Rejection | null) {
    this.#chunks = coalesced(chunks);
    this.digestBytes = digestBytes;
    this.fault = fault;
  }

  chunk(index: number): Buffer | undefined {
    return this.#chunks[index];
  }

  /**
   * Brings together the entry that begins here and ends in a later chunk: no more than that is copied.
   * @param lacking at least how many bytes
   * @returns false if there are no more
   */
  join(index: number, at: number, lacking: number): boolean {
    const chunk = this.#chunks[index];
    const next = this.#chunks[index + 1];
    if (chunk === undefined || next === undefined) return false;
    const rest = chunk.subarray(at);
    // At least as much again: else many small chunks would be copied many times.
    const taken = Math.min(next.length, Math.max(lacking, rest.length));
    const joined = Buffer.concat([rest, next.subarray(0, taken)]);
    const cut = [chunk.subarray(0, at), joined, next.subarray(taken)];
    this.#chunks.splice(index, 2, ...cut.filter(({ length }) => length > 0));
    return true;
  }
}

/** Attack: a list in very many small parts, each of which costs more than its bytes. */
function coalesced(chunks: readonly Buffer[]): Buffer[] {
  const large: Buffer[] = [];
  let small: Buffer[] = [];
  let bytes = 0;
  for (const chunk of chunks) {
    small.push(chunk);
    bytes += chunk.length;
    if (bytes < leastChunk) continue;
    large.push(small.length === 1 ? chunk : Buffer.concat(small));
    small = [];
    bytes = 0;
  }
  if (bytes > 0) large.push(Buffer.concat(small));
  return large;
}

const leastChunk = 16 * 1024;

/** Goes through a list, entry by entry. */
export class ListCursor {
  readonly #list: ListBytes;
  readonly entry = new EntryView();
  /** Read so far: entries and bytes. */
  entries: number;
  bytes: number;
  /** Bytes before the entry that was read last, or could not be. */
  begin: number;
  #chunk = 0;
  #at = 0;

  /** @param entries before it @param bytes before it */
  constructor(list: ListBytes, entries: number, bytes: number) {
    this.#list = list;
    this.entries = entries;
    this.bytes = bytes;
    this.begin = bytes;
  }

  /** Finds the next entry, whatever its fields are; false at the end. @throws Rejection */
  next(): boolean {
    const { entry } = this;
    this.begin = this.bytes;
    for (;;) {
      const chunk = this.#list.chunk(this.#chunk);
      if (chunk === undefined) {
        if (this.#list.fault !== null) throw this.#list.fault;
        return false;
      }
      if (this.#at === chunk.length) {
        this.#chunk++;
        this.#at = 0;
        continue;
      }
      const lacking = entry.frame(chunk, this.#at, this.#list.digestBytes);
      if (lacking === 0) {
        entry.index = this.entries++;
        this.bytes += entry.end - this.#at;
        this.#at = entry.end;
        return true;
      }
      if (!this.#list.join(this.#chunk, this.#at, lacking)) throw entry.cutShort();
    }
  }
}
