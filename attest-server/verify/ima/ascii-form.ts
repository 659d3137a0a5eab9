import { limits } from '../../wire/limits.ts';
import { Rejection } from '../../wire/rejection.ts';
import { type FieldName, type Template, templateOf } from './template.ts';

/** A list in the binary form, with SHA-1 as the templates' digest. */
export interface BinaryForm {
  readonly chunks: readonly Buffer[];
  /** The fault in the first line that cannot be read; its offset counts in the text. Lines before it are in `chunks`. */
  readonly fault: Rejection | null;
}

/** The binary form begins with the number of a PCR in 32 bits. */
export function isAscii(begin: Buffer): boolean {
  const first = begin[0];
  return first === space || (first !== undefined && first >= 0x30 && first <= 0x39);
}

/**
 * Rebuilds what the kernel hashed of ascii_runtime_measurements, security/integrity/ima/ima_fs.c
 * (ima_ascii_measurements_show), ima_template_lib.c (ima_show_template_data_ascii). Stops after each step of some lines.
 */
export function* binaryForm(chunks: readonly Buffer[]): Generator<void, BinaryForm> {
  const converter = new AsciiConverter();
  // A line may end in a later chunk.
  let pending: Buffer[] = [];
  try {
    for (const chunk of chunks) {
      const end = chunk.lastIndexOf(newline) + 1;
      if (end === 0) {
        pending.push(chunk);
        continue;
      }
      const text = pending.length === 0 ? chunk : Buffer.concat([...pending, chunk]);
      const whole = text.length - (chunk.length - end);
      yield* converter.convert(text, whole);
      pending = whole === text.length ? [] : [text.subarray(whole)];
    }
    // A list that was copied may lack the last line's end.
    const last = Buffer.concat(pending);
    yield* converter.convert(last, last.length);
    return { chunks: converter.chunks(), fault: null };
  } catch (error) {
    if (error instanceof Rejection) return { chunks: converter.chunks(), fault: error };
    throw error;
  }
}

class AsciiConverter {
  readonly #done: Buffer[] = [];
  #out: Buffer = none;
  #at = 0;
  /** Lines, and bytes of text, before this one. */
  #lines = 0;
  #before = 0;
  /** The template of the previous line, as a rule. */
  #template: Template | null = null;
  /** The text before the digest in it: `sha256:`. */
  #prefix: Buffer = none;
  /** The line at hand, and how far it was read. */
  #text: Buffer = none;
  #from = 0;

  chunks(): readonly Buffer[] {
    return [...this.#done, this.#out.subarray(0, this.#at)];
  }

  *convert(text: Buffer, end: number): Generator<void, void> {
    this.#text = text;
    let begin = 0;
    while (begin < end) {
      const found = text.indexOf(newline, begin);
      const lineEnd = found < 0 || found > end ? end : found;
      this.#from = begin;
      const undo = this.#reserve(lineEnd - begin);
      try {
        this.#line(begin, lineEnd);
      } catch (error) {
        this.#at = undo;
        throw error;
      }
      this.#lines++;
      begin = lineEnd + 1;
      if (this.#lines % linesInStep === 0) yield;
    }
    this.#before += end;
  }

  /** Room for one line, whatever it is: a field that is empty has a size in the binary form. Gives where it begins. */
  #reserve(lineBytes: number): number {
    if (lineBytes > longestLine) throw this.#fault('line', `a line of ${lineBytes} bytes`);
    const needed = lineBytes + mostAdded;
    if (this.#out.length - this.#at < needed) {
      if (this.#at > 0) this.#done.push(this.#out.subarray(0, this.#at));
      this.#out = Buffer.allocUnsafeSlow(Math.max(chunkBytes, needed));
      this.#at = 0;
    }
    return this.#at;
  }

  #line(begin: number, end: number): void {
    const text = this.#text;
    let at = begin;
    while (at < end && text[at] === space) at++;
    at = this.#number('pcr', 4, at, end);
    at = this.#templateDigest(this.#behindSpace('digest', at, end), end);
    const template = this.#templateAt(this.#behindSpace('template', at, end), end);
    at += 1 + template.bytes.length;
    this.#u32(template.bytes.length);
    this.#copy(template.bytes, 0, template.bytes.length);
    at = Math.min(at + 1, end);
    if (template.isOldest) this.#oldest(at, end);
    else {
      const sizeAt = this.#at;
      this.#at += 4;
      this.#fields(template, at, end);
      this.#sizeSince(sizeAt);
    }
  }

  /** The template's digest in any bank: no more of it counts than whether it is zero, as it is for a violation. */
  #templateDigest(begin: number, end: number): number {
    const text = this.#text;
    let at = begin;
    let sum = 0;
    while (at < end && text[at] !== space) {
      const pair = pairs[(text[at]! << 8) | text[at + 1]!]!;
      if (pair < 0) throw this.#fault('digest', 'no hex digits', at);
      sum |= pair;
      at += 2;
    }
    if (![20, 32, 48, 64].includes((at - begin) / 2))
      throw this.#fault('digest', `a digest of ${at - begin} digits`, begin);
    const nonzero = sum === 0 ? 0 : 1;
    for (let i = 0; i < 20; i++) this.#out[this.#at++] = nonzero;
    return at;
  }

  #templateAt(begin: number, end: number): Template {
    const known = this.#template;
    if (known !== null && this.#isWord(known.bytes, begin, end)) return known;
    const text = this.#text.toString('latin1', begin, Math.min(this.#tokenEnd(begin, end), begin + 256));
    const template = templateOf(text);
    if (template === null) throw this.#fault('template', `no kernel has a template ${text}`, begin);
    this.#template = template;
    this.#prefix = none;
    return template;
  }

  #isWord(word: Buffer, begin: number, end: number): boolean {
    const after = begin + word.length;
    if (after > end || (after < end && this.#text[after] !== space)) return false;
    for (let i = 0; i < word.length; i++) if (this.#text[begin + i] !== word[i]) return false;
    return true;
  }

  /** `ima`: a digest without a size, a name without a NUL. */
  #oldest(begin: number, end: number): void {
    const digestEnd = this.#hex('d', begin, end);
    if (digestEnd - begin !== 40) throw this.#fault('d', `a digest of ${digestEnd - begin} digits`, begin);
    const nameAt = Math.min(digestEnd + 1, end);
    this.#u32(end - nameAt);
    this.#copy(this.#text, nameAt, end);
  }

  /** A name may hold spaces, in lists of old kernels: what stands behind it is counted from the end. */
  #fields({ fields, name }: Template, begin: number, end: number): void {
    let at = begin;
    for (let i = 0; i < name; i++) at = Math.min(this.#field(fields[i]!, at, end) + 1, end);
    let nameEnd = end;
    let behind = fields.length - 1 - name;
    for (let i = end - 1; i > at && behind > 0; i--) {
      if (this.#text[i] !== space) continue;
      nameEnd = i;
      behind--;
    }
    this.#field(fields[name]!, at, nameEnd);
    at = Math.min(nameEnd + 1, end);
    // Spaces at a line's end are lost where a list was copied by hand: what lacks is empty.
    for (let i = name + 1; i < fields.length; i++) at = Math.min(this.#field(fields[i]!, at, end) + 1, end);
    if (at < end) throw this.#fault('data', 'more follows after the last field', at);
  }

  /** Gives where it ends: at a space, or the line's end; a name goes up to `end`. */
  #field(field: FieldName, begin: number, end: number): number {
    const sizeAt = this.#at;
    this.#at += 4;
    const fieldEnd = this.#fieldData(field, begin, end);
    this.#sizeSince(sizeAt);
    return fieldEnd;
  }

  #fieldData(field: FieldName, begin: number, end: number): number {
    const isName = field === 'n' || field === 'n-ng';
    if (isName || field === 'xattrnames') {
      const textEnd = isName ? end : this.#tokenEnd(begin, end);
      this.#copy(this.#text, begin, textEnd);
      // The kernel has no names at all where there are no attributes.
      if (isName || begin < textEnd) this.#out[this.#at++] = 0;
      return textEnd;
    }
    if (begin === end || this.#text[begin] === space) return begin;
    if (field === 'iuid' || field === 'igid') return this.#number(field, 4, begin, end);
    if (field === 'imode') return this.#number(field, 2, begin, end);
    return this.#hex(field, field.startsWith('d-') ? this.#hashName(begin, end) : begin, end);
  }

  /** `sha256:`, behind which the kernel hashes a NUL; where it prints none it hashes the colon alone. */
  #hashName(begin: number, end: number): number {
    const known = this.#prefix;
    const { length } = known;
    let same = 0;
    while (same < length && this.#text[begin + same] === known[same]) same++;
    if (length === 0 || same < length) {
      let colon = Math.min(this.#tokenEnd(begin, end), begin + longestHashName) - 1;
      while (colon >= begin && this.#text[colon] !== 0x3a) colon--;
      this.#prefix = Buffer.from(this.#text.subarray(begin, colon + 1));
    }
    const prefix = this.#prefix;
    if (prefix.length === 0) this.#out[this.#at++] = 0x3a;
    else this.#copy(prefix, 0, prefix.length);
    this.#out[this.#at++] = 0;
    return begin + prefix.length;
  }

  #tokenEnd(begin: number, end: number): number {
    let at = begin;
    while (at < end && this.#text[at] !== space) at++;
    return at;
  }

  #behindSpace(field: string, at: number, end: number): number {
    if (at >= end || this.#text[at] !== space) throw this.#fault(field, 'no space stands before it', at);
    return at + 1;
  }

  /** In decimal, up to a space or the line's end, where it ends. @param bytes that it takes */
  #number(field: string, bytes: 2 | 4, begin: number, end: number): number {
    const text = this.#text;
    let value = 0;
    let at = begin;
    while (at < end && at < begin + 10 && text[at]! >= 0x30 && text[at]! <= 0x39)
      value = value * 10 + text[at++]! - 0x30;
    const isEnd = at === end || text[at] === space;
    if (at === begin || !isEnd || value >= 2 ** (8 * bytes)) throw this.#fault(field, 'no number', begin);
    this.#at = this.#out.writeUIntLE(value, this.#at, bytes);
    return at;
  }

  /** Up to a space or the line's end, where it ends. */
  #hex(field: string, begin: number, end: number): number {
    const text = this.#text;
    const out = this.#out;
    let to = this.#at;
    let at = begin;
    while (at + 1 < end) {
      const pair = pairs[(text[at]! << 8) | text[at + 1]!]!;
      if (pair < 0) break;
      out[to++] = pair;
      at += 2;
    }
    if (at < end && text[at] !== space) throw this.#fault(field, 'no pair of hex digits', at);
    this.#at = to;
    return at;
  }

  #copy(from: Buffer, begin: number, end: number): void {
    const out = this.#out;
    let at = this.#at;
    for (let i = begin; i < end; i++) out[at++] = from[i]!;
    this.#at = at;
  }

  #sizeSince(at: number): void {
    this.#out.writeUInt32LE(this.#at - at - 4, at);
  }

  #u32(value: number): void {
    this.#at = this.#out.writeUInt32LE(value, this.#at);
  }

  #fault(field: string, text: string, at = this.#from): Rejection {
    const where = { field: `ima.${field}`, offset: this.#before + at };
    return new Rejection('ima_malformed', `line ${this.#lines + 1}: ${text}`, where);
  }
}

const none = Buffer.alloc(0);
const newline = 0x0a;
const space = 0x20;
const linesInStep = 4096;
const chunkBytes = 1024 * 1024;
/** Two digits for each byte of the longest entry. */
const longestLine = 2 * limits.ima.piece;
/** The most bytes that the binary form has more than the text: a header, a size for each field. */
const mostAdded = 512;

/** The longest name of a hash in the kernel, with what stands before it. */
const longestHashName = 160;

/** By two characters: the byte that they are in hex, as the kernel writes it; -1 where they are none. */
const pairs = new Int16Array(0x10000).fill(-1);
for (let value = 0; value < 256; value++) {
  const [high = '', low = ''] = value.toString(16).padStart(2, '0');
  pairs[(high.charCodeAt(0) << 8) | low.charCodeAt(0)] = value;
}
