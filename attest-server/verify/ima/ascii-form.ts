import { limits } from '../../protocol/limits.ts';
import { Rejection } from '../../protocol/rejection.ts';
import { type FieldName, type Template, templateOf } from './template.ts';

/** A list in the binary form, with SHA-1 as the templates' digest. */
export interface BinaryForm {
  readonly chunks: readonly Buffer[];
  /** What is wrong with the first line that cannot be read; its offset counts in the text. Lines before it are in `chunks`. */
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
  const converter = new Converter();
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

class Converter {
  readonly #done: Buffer[] = [];
  #out: Buffer = none;
  #at = 0;
  /** Lines, and bytes of text, before this one. */
  #lines = 0;
  #before = 0;
  /** Of the line before, as a rule. */
  #template: Template | null = null;
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
    const digestAt = this.#tokenEnd(at, end) + 1;
    this.#u32(this.#number('pcr', at, digestAt - 1));
    const templateAt = this.#tokenEnd(digestAt, end) + 1;
    this.#digest(digestAt, templateAt - 1);
    const fieldsAt = this.#tokenEnd(templateAt, end) + 1;
    const template = this.#templateAt(templateAt, Math.min(fieldsAt - 1, end));
    this.#u32(template.bytes.length);
    this.#copy(template.bytes, 0, template.bytes.length);
    if (template.isOldest) return this.#oldest(fieldsAt, end);
    const sizeAt = this.#at;
    this.#at += 4;
    this.#fields(template, fieldsAt, end);
    this.#out.writeUInt32LE(this.#at - sizeAt - 4, sizeAt);
  }

  /** Of the template, in any bank: no more of it counts than whether it is zero, as it is for a violation. */
  #digest(begin: number, end: number): void {
    if (![40, 64, 96, 128].includes(end - begin))
      throw this.#fault('digest', `a digest of ${end - begin} digits`, begin);
    this.#hex('digest', begin, begin + 40);
    const out = this.#out;
    let rest = 0;
    for (let at = begin + 40; at < end; at++) rest |= this.#digit('digest', at);
    if (rest !== 0) out[this.#at - 1]! |= 1;
  }

  #templateAt(begin: number, end: number): Template {
    const known = this.#template;
    if (known?.bytes.length === end - begin && known.bytes.compare(this.#text, begin, end) === 0)
      return known;
    const text = this.#text.toString('latin1', begin, Math.min(end, begin + 256));
    const template = templateOf(text);
    if (template === null) throw this.#fault('template', `no kernel has a template ${text}`, begin);
    this.#template = template;
    return template;
  }

  /** `ima`: a digest without a size, a name without a NUL. */
  #oldest(begin: number, end: number): void {
    const nameAt = this.#tokenEnd(begin, end) + 1;
    if (nameAt - 1 - begin !== 40) throw this.#fault('d', `a digest of ${nameAt - 1 - begin} digits`, begin);
    this.#hex('d', begin, nameAt - 1);
    const size = Math.max(0, end - nameAt);
    this.#u32(size);
    this.#copy(this.#text, nameAt, nameAt + size);
  }

  /** A name may hold spaces, in lists of old kernels: what stands behind it is counted from the end. */
  #fields({ fields, name }: Template, begin: number, end: number): void {
    let at = begin;
    for (let i = 0; i < name; i++) {
      const tokenEnd = this.#tokenEnd(at, end);
      this.#field(fields[i]!, at, tokenEnd);
      at = Math.min(tokenEnd + 1, end);
    }
    let nameEnd = end;
    let behind = 0;
    for (let i = end - 1; i > at && behind < fields.length - 1 - name; i--) {
      if (this.#text[i] !== space) continue;
      nameEnd = i;
      behind++;
    }
    this.#field(fields[name]!, at, nameEnd);
    at = Math.min(nameEnd + 1, end);
    for (let i = name + 1; i < fields.length; i++) {
      // Spaces at a line's end are lost where a list was copied by hand: what lacks is empty.
      const tokenEnd = this.#tokenEnd(at, end);
      this.#field(fields[i]!, at, tokenEnd);
      at = Math.min(tokenEnd + 1, end);
    }
  }

  #field(field: FieldName, begin: number, end: number): void {
    const sizeAt = this.#at;
    this.#at += 4;
    if (field === 'n' || field === 'n-ng' || (field === 'xattrnames' && begin < end)) {
      this.#copy(this.#text, begin, end);
      this.#out[this.#at++] = 0;
    } else if (field === 'iuid' || field === 'igid') {
      if (begin < end) this.#u32(this.#number(field, begin, end));
    } else if (field === 'imode') {
      if (begin < end) this.#at = this.#out.writeUInt16LE(this.#number(field, begin, end) & 0xffff, this.#at);
    } else if (begin < end) {
      const digits = field.startsWith('d-') ? this.#prefix(begin, end) : begin;
      this.#hex(field, digits, end);
    }
    this.#out.writeUInt32LE(this.#at - sizeAt - 4, sizeAt);
  }

  /** `sha256:`, behind which the kernel hashes a NUL; where it prints none it hashes the colon alone. */
  #prefix(begin: number, end: number): number {
    let colon = Math.min(end, begin + 160) - 1;
    while (colon >= begin && this.#text[colon] !== 0x3a) colon--;
    if (colon >= begin) this.#copy(this.#text, begin, colon);
    this.#out[this.#at++] = 0x3a;
    this.#out[this.#at++] = 0;
    return colon + 1;
  }

  #tokenEnd(begin: number, end: number): number {
    let at = begin;
    while (at < end && this.#text[at] !== space) at++;
    return at;
  }

  #number(field: string, begin: number, end: number): number {
    const digits = this.#text.toString('latin1', begin, Math.min(end, begin + 11));
    const value = Number(digits);
    if (!/^\d{1,10}$/.test(digits) || value > 0xffffffff)
      throw this.#fault(field, `no number: ${digits}`, begin);
    return value;
  }

  #hex(field: string, begin: number, end: number): void {
    if ((end - begin) % 2 !== 0) throw this.#fault(field, 'an odd number of hex digits', begin);
    const text = this.#text;
    const out = this.#out;
    let at = this.#at;
    let bad = 0;
    for (let i = begin; i < end; i += 2) {
      const high = digits[text[i]!]!;
      const low = digits[text[i + 1]!]!;
      bad |= high | low;
      out[at++] = (high << 4) | low;
    }
    this.#at = at;
    if (bad < 0) for (let i = begin; i < end; i++) this.#digit(field, i);
  }

  #digit(field: string, at: number): number {
    const value = digits[this.#text[at]!]!;
    if (value < 0) throw this.#fault(field, 'no hex digit', at);
    return value;
  }

  #copy(from: Buffer, begin: number, end: number): void {
    const out = this.#out;
    let at = this.#at;
    for (let i = begin; i < end; i++) out[at++] = from[i]!;
    this.#at = at;
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
const linesInStep = 8192;
const chunkBytes = 1024 * 1024;
/** Two digits for each byte of the longest entry. */
const longestLine = 2 * limits.ima.piece;
/** Of the binary form over the text: a header, a size for each field. */
const mostAdded = 512;

const digits = new Int8Array(256).fill(-1);
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16);
  digits[digit.charCodeAt(0)] = value;
}
