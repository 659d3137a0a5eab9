import { Rejection } from '../../../wire/rejection.ts';

export interface IndexEntry {
  readonly key: string;
  readonly value: string;
}

const magic = 0xb007f457;
const version = 0x00020001;
const flags = { prefix: 0x80000000, values: 0x40000000, children: 0x20000000 } as const;
const offsetMask = 0x0fffffff;
const longestKey = 1024;
/** The longest text: dependencies take some KB. */
const longestText = 32 * 1024;
const inStep = 1024;

/**
 * An index of modules as depmod writes it (`modules.*.bin`; kmod's libkmod/libkmod-index.c): a tree of letters, in the order
 * in which it is written. Linear in its bytes; 'step' stands where whoever has others to
 * serve lets them in, after some milliseconds.
 * @throws Rejection `malformed`, with the offset
 */
export function* parseKmodIndex(bytes: Buffer): Generator<IndexEntry | 'step'> {
  if (bytes.length < 12 || bytes.readUInt32BE(0) !== magic) throw malformed('it begins otherwise', 0);
  if (bytes.readUInt32BE(4) !== version) throw malformed('it is of another version', 4);
  let work = 0;
  const seen = new Set<number>();
  const waiting: { readonly link: number; readonly key: string; readonly from: number }[] = [
    { link: bytes.readUInt32BE(8), key: '', from: 8 },
  ];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { link, from } = next;
    let { key } = next;
    let at = link & offsetMask;
    if (at === 0) continue;
    // Attack: nodes that are reached over and over.
    if (seen.has(at)) throw malformed('a node has two places', from);
    seen.add(at);
    work += 1;
    if ((link & flags.prefix) !== 0) {
      const prefix = textAt(bytes, at);
      key += prefix;
      at += prefix.length + 1;
    }
    if (key.length > longestKey) throw malformed('a key is too long', at);
    if ((link & flags.children) !== 0) {
      const [first, last] = [byteAt(bytes, at), byteAt(bytes, at + 1)];
      at += 2;
      work += (last - first) / 4;
      for (let letter = first; letter <= last; letter++, at += 4)
        waiting.push({ link: wordAt(bytes, at), key: key + String.fromCharCode(letter), from: at });
    }
    if (work >= inStep) {
      work = 0;
      yield 'step';
    }
    if ((link & flags.values) !== 0) {
      const count = wordAt(bytes, at);
      at += 4;
      for (let index = 0; index < count; index++) {
        const value = textAt(bytes, at + 4);
        at += 4 + value.length + 1;
        yield { key, value };
        work += 1 + value.length / 32;
        if (work < inStep) continue;
        work = 0;
        yield 'step';
      }
    }
  }
}

function byteAt(bytes: Buffer, at: number): number {
  const byte = bytes[at];
  if (byte === undefined) throw malformed('it ends early', at);
  return byte;
}

function wordAt(bytes: Buffer, at: number): number {
  if (at + 4 > bytes.length) throw malformed('it ends early', at);
  return bytes.readUInt32BE(at);
}

function textAt(bytes: Buffer, at: number): string {
  const length = at > bytes.length ? -1 : bytes.subarray(at, at + longestText).indexOf(0);
  if (length < 0) throw malformed('a text has no end', at);
  return bytes.toString('latin1', at, at + length);
}

function malformed(what: string, offset: number): Rejection {
  return new Rejection('malformed', `no index of modules: ${what}`, { offset });
}
