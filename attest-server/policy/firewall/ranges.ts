/** Disjoint, sorted, both ends inside: ports, or addresses as numbers. */
export type Ranges = readonly (readonly [from: bigint, to: bigint])[];

export const allPorts: Ranges = [[0n, 65_535n]];
export const allAddresses = {
  4: [[0n, (1n << 32n) - 1n]],
  6: [[0n, (1n << 128n) - 1n]],
} as const satisfies Record<4 | 6, Ranges>;

/** Sorted, and joined where they touch. */
export function normalised(ranges: Ranges): Ranges {
  if (ranges.length < 2) return ranges;
  const sorted = [...ranges].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
  const joined: [bigint, bigint][] = [];
  for (const [from, to] of sorted) {
    const last = joined.at(-1);
    if (last !== undefined && from <= last[1] + 1n) last[1] = larger(last[1], to);
    else joined.push([from, to]);
  }
  return joined;
}

function larger(a: bigint, b: bigint): bigint {
  if (a > b) return a;
  return b;
}

export function intersect(a: Ranges, b: Ranges): Ranges {
  const both: [bigint, bigint][] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [aFrom, aTo] = a[i]!;
    const [bFrom, bTo] = b[j]!;
    const from = larger(aFrom, bFrom);
    const isFirst = aTo < bTo;
    const to = isFirst ? aTo : bTo;
    if (from <= to) both.push([from, to]);
    if (isFirst) i++;
    else j++;
  }
  return both;
}

export function subtract(a: Ranges, b: Ranges): Ranges {
  const left: [bigint, bigint][] = [];
  let j = 0;
  for (const [from, to] of a) {
    let at = from;
    while (j < b.length && b[j]![1] < at) j++;
    for (let k = j; k < b.length && b[k]![0] <= to; k++) {
      const [bFrom, bTo] = b[k]!;
      if (bFrom > at) left.push([at, bFrom - 1n]);
      if (bTo >= at) at = bTo + 1n;
    }
    if (at <= to) left.push([at, to]);
  }
  return left;
}

export function areEqual(a: Ranges, b: Ranges): boolean {
  return (
    a.length === b.length && a.every(([from, to], index) => b[index]![0] === from && b[index]![1] === to)
  );
}

/** The range of ports `22`, `22:80`, `22-80`, where an end may be missing; null if it is none. */
export function portRange(text: string): readonly [bigint, bigint] | null {
  const found = /^(\d{0,5})(?:([:-])(\d{0,5}))?$/.exec(text);
  if (found === null || text === '') return null;
  const [, first = '', dash, last = ''] = found;
  if (dash === undefined && first === '') return null;
  const from = BigInt(first === '' ? 0 : first);
  const to = dash === undefined ? from : BigInt(last === '' ? 65_535 : last);
  return to > 65_535n || from > to ? null : [from, to];
}

export interface AddressRange {
  readonly family: 4 | 6;
  readonly range: readonly [bigint, bigint];
}

/** The range of an address, `address/length`, `address/mask` or `first-last`; null if it is none, or no whole range. */
export function addressRange(text: string): AddressRange | null {
  if (text.length > 100) return null;
  const dash = text.indexOf('-');
  if (dash > 0) {
    const first = addressOf(text.slice(0, dash));
    const last = addressOf(text.slice(dash + 1));
    if (first === null || last === null || first.family !== last.family || first.value > last.value)
      return null;
    return { family: first.family, range: [first.value, last.value] };
  }
  const slash = text.indexOf('/');
  const address = addressOf(slash < 0 ? text : text.slice(0, slash));
  if (address === null) return null;
  const bits = address.family === 4 ? 32 : 128;
  const length = slash < 0 ? bits : prefixLength(text.slice(slash + 1), address.family);
  if (length === null) return null;
  const size = 1n << BigInt(bits - length);
  const from = (address.value / size) * size;
  return { family: address.family, range: [from, from + size - 1n] };
}

function prefixLength(text: string, family: 4 | 6): number | null {
  if (/^\d{1,3}$/.test(text)) {
    const length = Number(text);
    return length <= (family === 4 ? 32 : 128) ? length : null;
  }
  const mask = addressOf(text);
  if (mask === null || mask.family !== family) return null;
  const bits = mask.value.toString(2).padStart(family === 4 ? 32 : 128, '0');
  const ones = bits.indexOf('0') < 0 ? bits.length : bits.indexOf('0');
  return bits.slice(ones).includes('1') ? null : ones;
}

function addressOf(text: string): { readonly family: 4 | 6; readonly value: bigint } | null {
  if (!text.includes(':')) {
    const value = dotted(text);
    return value === null ? null : { family: 4, value };
  }
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const [head = '', tail] = halves;
  const first = groupsOf(head);
  const last = tail === undefined ? [] : groupsOf(tail);
  if (first === null || last === null) return null;
  const missing = 8 - first.length - last.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return null;
  const groups = [...first, ...Array.from({ length: missing }, () => 0n), ...last];
  return { family: 6, value: groups.reduce((value, group) => (value << 16n) | group, 0n) };
}

function groupsOf(text: string): readonly bigint[] | null {
  if (text === '') return [];
  const groups: bigint[] = [];
  for (const part of text.split(':')) {
    if (part.includes('.')) {
      const value = dotted(part);
      if (value === null) return null;
      groups.push(value >> 16n, value & 0xffffn);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(BigInt(`0x${part}`));
    else return null;
  }
  return groups.length > 8 ? null : groups;
}

function dotted(text: string): bigint | null {
  const found = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (found === null) return null;
  let value = 0;
  for (const part of found.slice(1)) {
    if (Number(part) > 255) return null;
    value = value * 256 + Number(part);
  }
  return BigInt(value);
}
