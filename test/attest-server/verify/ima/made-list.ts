import { hash } from 'node:crypto';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import {
  type ImaTail,
  type KnownList,
  type ListProof,
  proveList,
} from '../../../../attest-server/verify/ima/prove-list.ts';
import {
  type ImaEntry,
  isProvenList,
  type ProvenImaList,
} from '../../../../attest-server/verify/ima/proven-list.ts';
import type { QuotedBank } from '../../../../attest-server/verify/quote.ts';
import { bankBytes, type PcrBank } from '../../../../attest-server/wire/messages.ts';
import { bankByHand } from '../made-by-hand.ts';

/** The whole work of `proveList` in one. */
export function proved(
  list: Buffer | ImaTail | null,
  banks: readonly QuotedBank[],
  known: KnownList | null = null,
): ListProof {
  const tail = Buffer.isBuffer(list) ? { from: 0, chunks: [list] } : list;
  return atOnce(proveList(tail, banks, known));
}

/** The list that was proven. */
export function listIn({ list }: ListProof): ProvenImaList {
  if (!isProvenList(list)) throw new Error(`nothing is proven: ${JSON.stringify(list)}`);
  return list;
}

/** An entry in both forms, and what a kernel hashes of it. */
export interface MadeEntry {
  readonly template: string;
  readonly pcr: number;
  readonly isViolation: boolean;
  readonly fields: readonly Buffer[];
  readonly binary: Buffer;
  readonly ascii: string;
  readonly hashed: Buffer;
}

export interface Made {
  readonly template: string;
  /** In the order of the template, as the kernel keeps them: a digest with `sha256:` and NUL, a text with its NUL. */
  readonly fields: readonly Buffer[];
  readonly pcr?: number;
  readonly isViolation?: boolean;
  /** Of the file: each bank has one from 6.10 on. */
  readonly bank?: PcrBank;
}

/** Written from the kernel's side: ima_fs.c and ima_template_lib.c, security/integrity/ima. */
export function madeEntry({
  template,
  fields,
  pcr = 10,
  isViolation = false,
  bank = 'sha1',
}: Made): MadeEntry {
  const isOldest = template === 'ima';
  const [first = none, second = none] = fields;
  const hashed = isOldest
    ? Buffer.concat([first, second, Buffer.alloc(256 - second.length)])
    : Buffer.concat(fields.map(sized));
  const digest = isViolation ? Buffer.alloc(bankBytes[bank]) : hash(bank, hashed, 'buffer');
  const data = isOldest ? Buffer.concat([first, sized(second)]) : sized(hashed);
  const binary = Buffer.concat([u32(pcr), digest, sized(Buffer.from(template)), data]);
  const formats = (named[template] ?? template).split('|');
  const shown = fields.map((field, i) => shownField(formats[i] ?? '', field));
  const ascii = `${String(pcr).padStart(2)} ${digest.toString('hex')} ${template} ${shown.join(' ')}\n`;
  return { template, pcr, isViolation, fields, binary, ascii, hashed };
}

const named: Readonly<Record<string, string>> = {
  ima: 'd|n',
  'ima-ng': 'd-ng|n-ng',
  'ima-sig': 'd-ng|n-ng|sig',
  'ima-ngv2': 'd-ngv2|n-ng',
  'ima-sigv2': 'd-ngv2|n-ng|sig',
  'ima-buf': 'd-ng|n-ng|buf',
  'ima-modsig': 'd-ng|n-ng|sig|d-modsig|modsig',
  'evm-sig': 'd-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode',
};

function shownField(format: string, field: Buffer): string {
  if (field.length === 0) return '';
  if (format === 'n' || format === 'n-ng' || format === 'xattrnames')
    return field.toString('latin1').replace(/\0$/, '');
  if (format === 'imode') return `${field.readUInt16LE()}`;
  if (format === 'iuid' || format === 'igid') return `${field.readUInt32LE()}`;
  if (!format.startsWith('d-')) return field.toString('hex');
  const nul = field.indexOf(0);
  return `${nul <= 1 ? '' : field.toString('latin1', 0, nul)}${field.toString('hex', nul + 1)}`;
}

export type Kernel = 'hashed' | 'padded' | 'unmapped';

/** What PCR 10 holds after a kernel extended it with these entries. */
export function extendedTo(
  entries: readonly MadeEntry[],
  bank: PcrBank = 'sha256',
  kernel: Kernel = 'hashed',
): QuotedBank {
  const size = bankBytes[bank];
  let value = Buffer.alloc(size);
  for (const { pcr, isViolation, hashed } of entries) {
    if (pcr !== 10) continue;
    const digest = Buffer.alloc(size);
    if (isViolation) digest.fill(0xff, 0, kernel === 'padded' ? 20 : size);
    else hash(kernel === 'hashed' ? bank : 'sha1', hashed, 'buffer').copy(digest);
    value = hash(bank, Buffer.concat([value, digest]), 'buffer');
  }
  return bankByHand({ bank, mask: 1 << 10, values: value });
}

export const binaryOf = (entries: readonly MadeEntry[]) => Buffer.concat(entries.map(({ binary }) => binary));
export const asciiOf = (entries: readonly MadeEntry[]) =>
  Buffer.from(entries.map(({ ascii }) => ascii).join(''), 'latin1');

export const text = (words: string) => Buffer.from(`${words}\0`);
export const digestField = (digest: Buffer, prefix = 'sha256') =>
  Buffer.concat([Buffer.from(`${prefix}:\0`), digest]);
export const sha256 = (content: string | Buffer) => hash('sha256', content, 'buffer');

/** A file of the template ima-ng whose content is its name. */
export const file = (name: string, change: Partial<Made> = {}) =>
  madeEntry({ template: 'ima-ng', fields: [digestField(sha256(name)), text(name)], ...change });

/** Of ima-buf, as the kernel measures it. */
export const measuredData = (name: string, data: Buffer | string) =>
  madeEntry({ template: 'ima-buf', fields: [digestField(sha256(data)), text(name), Buffer.from(data)] });

/** What an entry says, for comparing. */
export function saidBy(entry: ImaEntry) {
  const { index, pcr, template, isViolation, algorithm, kind, name, nameBytes, appended, evm } = entry;
  return {
    index,
    pcr,
    template,
    isViolation,
    algorithm,
    kind,
    digest: entry.digest.toString('hex'),
    name,
    nameBytes: nameBytes.toString('hex'),
    signature: entry.signature?.toString('hex') ?? null,
    appended: appended && {
      algorithm: appended.algorithm,
      digest: appended.digest.toString('hex'),
      signature: appended.signature.toString('hex'),
    },
    evm: evm && {
      ...evm,
      signature: evm.signature.toString('hex'),
      attributes: evm.attributes.map(({ name, value }) => [name, value.toString('hex')]),
    },
    data: entry.data?.toString('latin1') ?? null,
  };
}

const none = Buffer.alloc(0);

function sized(bytes: Buffer): Buffer {
  return Buffer.concat([u32(bytes.length), bytes]);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
