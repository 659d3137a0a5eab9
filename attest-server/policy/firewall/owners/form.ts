import { addressSentTo, isLoopback } from '../../../wire/stray-rules.ts';

/** Whether packets that are sent to an address leave the node; null if nobody says which addresses are its own. */
export type SendsAway = ((address: string) => boolean) | null;

/** The form of a name or a rule: words as the tools print them, and places in angle brackets for what differs. */
export interface Form {
  readonly text: string;
  /** The beginning of the last word: quicker to ask. */
  readonly ending: string;
  readonly fits: (text: string, sendsAway: SendsAway) => boolean;
}

const ip4 = '\\d{1,3}(?:\\.\\d{1,3}){3}';
const ip6 = '[0-9a-f]*:[0-9a-f:.]+';
const port = '\\d{1,5}';
const ports = `${port}(?:[:-]${port})?`;
/** Addresses of containers, and of nobody on the internet (RFC 1918, 6598 and 4193). */
const private4 =
  '(?:10\\.|172\\.(?:1[6-9]|2\\d|3[01])\\.|192\\.168\\.|100\\.(?:6[4-9]|[7-9]\\d|1[01]\\d|12[0-7])\\.)';
const private6 = 'f[cd][0-9a-f]{2}:';
const words = '(?:"(?:[^"\\\\]|\\\\.)*"|(?!-[jg] )[^\\s"]+)';

/** By name, what may stand in a place. */
const places: Readonly<Record<string, string>> = {
  address: `(?:${ip4}(?:/32)?|${ip6}(?:/128)?)`,
  net: `(?:(?:${ip4}|${ip6})(?:/[1-9]\\d{0,2})?)`,
  private: `(?:${private4}[\\d.]+/(?:[89]|[12]\\d|3[0-2])|${private6}[0-9a-f:]+/(?:[4-9]\\d|1[01]\\d|12[0-8]))`,
  port,
  ports: `(?:${ports}(?:,${ports})*|\\{ ${ports}(?:, ${ports})* \\})`,
  number: '\\d{1,10}',
  hex: '[0-9a-fA-F]{1,64}',
  interface: '[\\w.@-]{1,15}[+*]?',
  protocol: '(?:tcp|udp|sctp|dccp|udplite)',
  word: '[\\w.:-]{1,64}',
  mark: '0x[0-9a-f]{1,8}(?:/0x[0-9a-f]{1,8})?',
  comment: '"(?:[^"\\\\]|\\\\.)*"',
  set: '[^\\s"]{1,31}',
  matches: `(?:${words} )*`,
  nodeport: `(3[0-2]\\d{3})`,
  elsewhere: '([0-9a-f.:[\\]/-]{2,80})',
  inner: '([0-9a-f.:[\\]/-]{2,80})',
};

type ValueCheck = (value: string, sendsAway: SendsAway) => boolean;

/** Places of which more is asked than the words say; each is a group of its pattern. */
const checked: Readonly<Record<string, ValueCheck>> = {
  nodeport: isNodePort,
  elsewhere: isAway,
  inner: (destination, sendsAway) => isAway(destination, sendsAway) && inner.test(destination),
};
const inner = new RegExp(`^\\[?(?:${private4}|${private6})`);

/** Longer than any of these programs writes. */
const longest = 4096;

/** @returns the form, or what is wrong with the text */
export function parseForm(text: string): Form | string {
  const parts = text.split(/<([^<>]*)>/);
  let source = '';
  let groups = 1;
  const checks: (readonly [group: number, holds: ValueCheck])[] = [];
  let isFirst = true;
  for (const [index, part] of parts.entries()) {
    if (index % 2 === 0) {
      // Conditions end with the blank before the target.
      source += escaped(parts[index - 1] === 'matches' ? part.replace(/^ /, '') : part);
      continue;
    }
    const [name = '', count, ...others] = part.split(' ');
    if (name === 'same') {
      if (isFirst) return '<same> stands before what it is the same as';
      source += '\\1';
      continue;
    }
    const literals = name.includes('|') ? `(?:${name.split('|').map(escaped).join('|')})` : null;
    const place = literals ?? (Object.hasOwn(places, name) ? places[name] : undefined);
    if (place === undefined || others.length > 0)
      return `<${part}> is none of ${Object.keys(places).join(', ')}, same`;
    if (count !== undefined && (name !== 'hex' || !/^\d{1,2}$/.test(count))) return `<${part}>: only <hex N>`;
    const own = count === undefined ? place : `[0-9a-fA-F]{${count}}`;
    source += isFirst ? `(${own})` : own;
    if (isFirst) groups += 1;
    isFirst = false;
    const check = Object.hasOwn(checked, name) ? checked[name] : undefined;
    if (check !== undefined) checks.push([groups++, check]);
  }
  const pattern = new RegExp(`^${source}$`);
  const plain = text.replaceAll(/<[^>]*>/g, '<');
  const last = plain.slice(plain.lastIndexOf(' ') + 1);
  return {
    text,
    ending: last.split('<')[0] ?? '',
    fits(given, sendsAway) {
      if (given.length > longest) return false;
      const found = pattern.exec(given);
      return found !== null && checks.every(([group, holds]) => holds(found[group] ?? '', sendsAway));
    },
  };
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}

function isAway(destination: string, sendsAway: SendsAway): boolean {
  const address = addressSentTo(destination);
  return address !== null && !isLoopback(address) && sendsAway?.(address) === true;
}

function isNodePort(text: string): boolean {
  return Number(text) >= 30_000 && Number(text) <= 32_767;
}
