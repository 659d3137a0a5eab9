import { hash } from 'node:crypto';
import { limits } from '../../wire/limits.ts';
import { pcrBanks } from '../../wire/messages.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { EvmFields, ImaEntry } from './proven-list.ts';
import { type FieldName, longestTemplate, type Template, templateOf } from './template.ts';

/**
 * An entry of the binary list, read in place: one object for all entries of a list, so that none of them costs memory.
 * binary_runtime_measurements as a little-endian Linux writes it, security/integrity/ima/ima_fs.c
 * (ima_measurements_show). Offsets in its Rejections (`ima_malformed`) count from where the entry begins.
 */
export class EntryView implements ImaEntry {
  index = 0;
  pcr = 0;
  isViolation = false;
  algorithm = '';
  kind: 'ima' | 'verity' = 'ima';
  /** Where it ends in the bytes given. */
  end = 0;
  #bytes: Buffer = none;
  #begin = 0;
  /** Where the template's name begins, and its data. */
  #nameAt = 0;
  #dataAt = 0;
  /** The template of the previous entry, as a rule: entries of one template follow each other. */
  #template: Template | null = null;
  #templateText: Buffer = none;
  /** Where each field of the template begins and ends. */
  readonly #begins = new Int32Array(16);
  readonly #ends = new Int32Array(16);
  #digestAt = 0;
  /** The text before the last digest, with its NUL: `sha256:`. */
  #prefix: Buffer = none;
  /** At which field the bytes end, where the entry is not whole. */
  #cut = '';
  #oldest: Buffer = none;

  get template(): string {
    return this.#template?.text ?? '';
  }

  /**
   * Finds where the entry ends and what the kernel hashes of it, whatever its fields are.
   * @param digestBytes of the template's digest: 20, or as many as the bank of the file has
   * @returns 0, or at least how many bytes lack
   * @throws Rejection
   */
  frame(bytes: Buffer, begin: number, digestBytes: number): number {
    this.#bytes = bytes;
    this.#begin = begin;
    const left = bytes.length - begin;
    const head = 8 + digestBytes;
    if (left < head)
      return this.#lacks(head - left, left < 4 ? 'pcr' : left < head - 4 ? 'digest' : 'template.size');
    this.pcr = u32(bytes, begin);
    if (this.pcr >= pcrCount) throw this.#fault('pcr', `there is no PCR ${this.pcr}`, begin);
    const nameAt = begin + head;
    const nameBytes = u32(bytes, nameAt - 4);
    if (nameBytes === 0 || nameBytes > longestTemplate)
      throw this.#fault('template', `a template's name of ${nameBytes} bytes`, nameAt - 4);
    if (left < head + nameBytes + 4) return this.#lacks(head + nameBytes + 4 - left, 'template');
    this.#nameAt = nameAt;
    this.#findTemplate(bytes, nameAt, nameBytes);
    this.isViolation = isZero(bytes, begin + 4, digestBytes);
    if (this.#template?.isOldest) return this.#frameOldest(nameAt + nameBytes);
    const dataAt = nameAt + nameBytes + 4;
    const size = u32(bytes, dataAt - 4);
    if (size > mostData) throw this.#fault('data', `an entry of ${size} bytes`, dataAt - 4);
    if (bytes.length - dataAt < size) return this.#lacks(size - (bytes.length - dataAt), 'data');
    this.#dataAt = dataAt;
    this.end = dataAt + size;
    return 0;
  }

  /** A SHA-1 digest, then a name with its size. */
  #frameOldest(dataAt: number): number {
    const bytes = this.#bytes;
    const nameAt = dataAt + oldestDigest + 4;
    if (bytes.length < nameAt) return this.#lacks(nameAt - bytes.length, 'data');
    const size = u32(bytes, nameAt - 4);
    if (size >= oldestName) throw this.#fault('n', `a file's name of ${size} bytes`, nameAt - 4);
    if (bytes.length < nameAt + size) return this.#lacks(nameAt + size - bytes.length, 'n');
    this.#dataAt = dataAt;
    this.end = nameAt + size;
    return 0;
  }

  #findTemplate(bytes: Buffer, at: number, size: number): void {
    const known = this.#templateText;
    if (known.length === size) {
      let i = 0;
      while (i < size && bytes[at + i] === known[i]) i++;
      if (i === size) return;
    }
    this.#templateText = Buffer.from(bytes.subarray(at, at + size));
    this.#template = templateOf(this.#templateText.toString('latin1'));
    this.#prefix = none;
  }

  /** The bytes that a kernel hashes for each bank. */
  hashed(): Uint8Array {
    const { buffer, byteOffset } = this.#bytes;
    const at = this.#dataAt;
    if (!this.#template?.isOldest) return new Uint8Array(buffer, byteOffset + at, this.end - at);
    if (this.#oldest.length === 0) this.#oldest = Buffer.alloc(oldestDigest + oldestName);
    this.#bytes.copy(this.#oldest, 0, at, at + oldestDigest);
    this.#oldest.fill(0, oldestDigest);
    this.#bytes.copy(this.#oldest, oldestDigest, at + oldestDigest + 4, this.end);
    return this.#oldest;
  }

  /** A Rejection for bytes that end within the entry. */
  cutShort(): Rejection {
    return this.#fault(this.#cut, `the list ends within ${this.#cut}`, this.#bytes.length);
  }

  /** Finds the fields of what `frame` found. @throws Rejection */
  parse(): void {
    const template = this.#template;
    if (template === null) {
      const text = this.#templateText.toString('latin1');
      throw this.#fault('template', `no kernel has a template ${text}`, this.#nameAt);
    }
    const bytes = this.#bytes;
    const begins = this.#begins;
    const ends = this.#ends;
    let at = this.#dataAt;
    if (template.isOldest) {
      begins[0] = at;
      ends[0] = at + oldestDigest;
      begins[1] = at + oldestDigest + 4;
      ends[1] = this.end;
    } else {
      const { fields } = template;
      for (let i = 0; i < fields.length; i++) {
        if (this.end - at < 4) throw this.#fault(`${fields[i]}.size`, 'the data end before it', at);
        const size = u32(bytes, at);
        at += 4;
        if (size > this.end - at)
          throw this.#fault(`${fields[i]}`, `it takes ${size} bytes, and ${this.end - at} are left`, at);
        begins[i] = at;
        at += size;
        ends[i] = at;
      }
      if (at !== this.end)
        throw this.#fault('data', `${this.end - at} bytes follow after the last field`, at);
    }
    this.#parseDigest(template);
  }

  #parseDigest(template: Template): void {
    const begin = this.#begins[template.digest]!;
    const end = this.#ends[template.digest]!;
    if (template.digestForm === 'd') {
      this.algorithm = end - begin === oldestDigest ? 'sha1' : '';
      this.kind = 'ima';
      this.#digestAt = begin;
    } else if (!this.#hasPrefix(begin, end)) {
      const { algorithm, kind, digestAt } = this.#prefixOf(template.digestForm, begin, end);
      this.algorithm = algorithm;
      this.kind = kind;
      this.#digestAt = digestAt;
      this.#prefix = Buffer.from(this.#bytes.subarray(begin, digestAt));
    }
    const size = end - this.#digestAt;
    // Attack: a digest with the name of its hash taken for one without, which nobody denies or revokes.
    const isBare = template.digestForm === 'd';
    if (isBare ? size !== oldestDigest && size !== md5Bytes : size === 0 || size > longestDigest)
      throw this.#fault(template.digestForm, `a digest of ${size} bytes`, this.#digestAt);
  }

  /** Whether the digest stands behind the same words as the one before. */
  #hasPrefix(begin: number, end: number): boolean {
    const prefix = this.#prefix;
    const { length } = prefix;
    if (length === 0 || length > end - begin) return false;
    for (let i = 0; i < length; i++) if (this.#bytes[begin + i] !== prefix[i]) return false;
    this.#digestAt = begin + length;
    return true;
  }

  /** `sha256:` and a NUL; `ima:` or `verity:` before it in the templates of ima-ngv2. */
  #prefixOf(field: FieldName, begin: number, end: number) {
    const text = this.#bytes.toString('latin1', begin, Math.min(end, begin + longestPrefix));
    const [prefix, kind, algorithm = ''] =
      (field === 'd-ngv2' ? /^(ima|verity):([\w-]*):\0/ : /^()([\w-]*):\0/).exec(text) ?? [];
    if (prefix === undefined) throw this.#fault(field, 'no name of a hash stands before the digest', begin);
    return {
      algorithm,
      kind: kind === 'verity' ? ('verity' as const) : ('ima' as const),
      digestAt: begin + prefix.length,
    };
  }

  /**
   * Checks that the kernel could have written the fields that `parse` found. Attack: no PCR holds the template's name, so that
   * a file could be called data of another kind, and the other way round. @throws Rejection
   */
  check(): void {
    const template = this.#template;
    if (template === null) return;
    const { fields } = template;
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i]!;
      const begin = this.#begins[i]!;
      const end = this.#ends[i]!;
      if (i === template.name) this.#checkText(field, begin, end, template.isOldest ? end : end - 1);
      else if (i !== template.digest && begin !== end) this.#checkField(field, begin, end);
    }
    if (template.hasData) this.#checkData();
    if (template.hasAttributes) this.#evmFields();
  }

  #checkField(field: FieldName, begin: number, end: number): void {
    const first = this.#bytes[begin]!;
    if (field === 'd-modsig') this.#prefixOf(field, begin, end);
    else if (field === 'xattrnames') this.#checkText(field, begin, end, end - 1);
    else if (!(firstBytes[field]?.includes(first) ?? true))
      throw this.#fault(field, `no kernel begins it with the byte ${first}`, begin);
    else if (field in sizes && sizes[field] !== end - begin)
      throw this.#fault(field, `a number of ${end - begin} bytes`, begin);
  }

  /** Attack: a NUL within a name, behind which some programs see no more of it. */
  #checkText(field: FieldName, begin: number, end: number, nul: number): void {
    if (nul < begin) throw this.#fault(field, 'a text without its NUL', begin);
    const bytes = this.#bytes;
    let at = begin;
    while (at < nul && bytes[at] !== 0) at++;
    if (at < nul || (nul < end && bytes[nul] !== 0))
      throw this.#fault(field, 'a text that does not end with its one NUL', at);
  }

  /** The kernel hashes the data themselves, ima_main.c (process_buffer_measurement). */
  #checkData(): void {
    const { data, algorithm } = this;
    if (this.isViolation || data === null) return;
    const known = pcrBanks.find((name) => name === algorithm);
    if (known === undefined)
      throw this.#fault('buf', `data under a hash that is not known: ${algorithm}`, this.#dataAt);
    if (hash(known, data, 'latin1') !== this.digest.toString('latin1'))
      throw this.#fault('buf', 'the data have another digest than the entry says', this.#dataAt);
  }

  get digest(): Buffer {
    return this.#bytes.subarray(this.#digestAt, this.#ends[this.#template?.digest ?? 0]);
  }

  get name(): string {
    return this.#bytes.toString('utf8', this.#nameBegin, this.#nameEnd);
  }

  get nameBytes(): Buffer {
    return this.#bytes.subarray(this.#nameBegin, this.#nameEnd);
  }

  /** True if the name is this text. */
  isNamed(text: Buffer): boolean {
    const begin = this.#nameBegin;
    if (this.#nameEnd - begin !== text.length || this.#bytes[begin] !== text[0]) return false;
    return text.compare(this.#bytes, begin, this.#nameEnd) === 0;
  }

  /** True if the name begins with this text. */
  isNamedFrom(text: Buffer): boolean {
    const begin = this.#nameBegin;
    if (this.#nameEnd - begin < text.length || this.#bytes[begin] !== text[0]) return false;
    return text.compare(this.#bytes, begin, begin + text.length) === 0;
  }

  get #nameBegin(): number {
    return this.#begins[this.#template?.name ?? 0]!;
  }

  get #nameEnd(): number {
    const template = this.#template;
    return template === null ? 0 : this.#ends[template.name]! - (template.isOldest ? 0 : 1);
  }

  get signature(): Buffer | null {
    return this.#present('sig');
  }

  get appended(): ImaEntry['appended'] {
    const signature = this.#present('modsig');
    const digest = this.#present('d-modsig');
    if (signature === null || digest === null) return null;
    const begin = digest.byteOffset - this.#bytes.byteOffset;
    const { algorithm, digestAt } = this.#prefixOf('d-modsig', begin, begin + digest.length);
    return { signature, algorithm, digest: digest.subarray(digestAt - begin) };
  }

  get evm(): EvmFields | null {
    return this.#evmFields();
  }

  get data(): Buffer | null {
    return this.#field('buf');
  }

  /** @throws Rejection if names, sizes and values of the attributes do not fit each other */
  #evmFields(): EvmFields | null {
    const signature = this.#present('evmsig');
    const [uid, gid, mode] = [this.#present('iuid'), this.#present('igid'), this.#present('imode')];
    if (signature === null || uid === null || gid === null || mode === null) return null;
    const sizesOfValues = this.#field('xattrlengths') ?? none;
    const values = this.#field('xattrvalues') ?? none;
    const text = this.#field('xattrnames') ?? none;
    const names = text.length === 0 ? [] : text.toString('utf8', 0, text.length - 1).split('|');
    let at = 0;
    const attributes = names.map((name, i) => {
      const size = (i + 1) * 4 > sizesOfValues.length ? 0 : sizesOfValues.readUInt32LE(i * 4);
      const value = values.subarray(at, at + size);
      at += size;
      return { name, value };
    });
    if (sizesOfValues.length !== names.length * 4 || at !== values.length)
      throw this.#fault(
        'xattrlengths',
        'names, sizes and values of the attributes do not fit each other',
        this.#dataAt,
      );
    return {
      signature,
      attributes,
      uid: uid.readUInt32LE(),
      gid: gid.readUInt32LE(),
      mode: mode.readUInt16LE(),
    };
  }

  /** A view; null if the template has no such field. */
  #field(field: FieldName): Buffer | null {
    const at = this.#template?.fields.indexOf(field) ?? -1;
    return at < 0 ? null : this.#bytes.subarray(this.#begins[at], this.#ends[at]);
  }

  /** The same, and null if the field is empty. */
  #present(field: FieldName): Buffer | null {
    const bytes = this.#field(field);
    return bytes === null || bytes.length === 0 ? null : bytes;
  }

  #lacks(count: number, field: string): number {
    this.#cut = field;
    return count;
  }

  #fault(field: string, text: string, at: number): Rejection {
    return new Rejection('ima_malformed', text, { field: `ima.${field}`, offset: at - this.#begin });
  }
}

const none = Buffer.alloc(0);
const pcrCount = 24;
/** An entry fits into one frame. */
const mostData = limits.ima.piece - 1024;
const longestDigest = 64;
/** `verity:`, a name of CRYPTO_MAX_ALG_NAME, `:` and a NUL. */
const longestPrefix = 7 + 128 + 2;
const oldestDigest = 20;
/** The form `d` is of SHA-1 or of this. */
const md5Bytes = 16;
/** With zeros up to this many bytes a name is hashed in the oldest template. */
const oldestName = 256;

/** With what signatures begin: EVM_IMA_XATTR_DIGSIG, EVM_XATTR_PORTABLE_DIGSIG, IMA_VERITY_DIGSIG; DER's SEQUENCE. */
const firstBytes: Readonly<Partial<Record<FieldName, readonly number[]>>> = {
  sig: [3, 5, 6],
  evmsig: [5],
  modsig: [0x30],
};

const sizes: Readonly<Partial<Record<FieldName, number>>> = { iuid: 4, igid: 4, imode: 2 };

function u32(bytes: Buffer, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)) + bytes[at + 3]! * 0x1000000;
}

function isZero(bytes: Buffer, at: number, size: number): boolean {
  for (let i = at; i < at + size; i++) if (bytes[i] !== 0) return false;
  return true;
}
