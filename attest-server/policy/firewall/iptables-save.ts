import { limits } from '../../wire/limits.ts';
import { withoutIds } from '../../wire/owned-chains.ts';
import { Rejection } from '../../wire/rejection.ts';
import { type Clause, type Condition, followable, type Outcome, protocolName, unknown } from './clause.ts';
import { addressRange, normalised, portRange } from './ranges.ts';
import type { Base, Rule } from './ruleset.ts';

/** One table of the text that `iptables-save` prints (its man page and iptables-restore's; version 1.8). */
export interface SavedTable {
  readonly name: string;
  readonly chains: readonly SavedChain[];
}

export interface SavedChain {
  readonly name: string;
  /** Null for a chain that only jumps enter. */
  readonly base: Base | null;
  readonly rules: readonly Rule[];
}

export interface SavedRules {
  readonly tables: readonly SavedTable[];
  /** Tables that the program says it cannot show: their rules are seen by nft alone. */
  readonly notShown: ReadonlySet<string>;
  /** The program says that iptables' own tables exist beside these. */
  readonly besideLegacy: boolean;
}

/**
 * @param field names the text in an error
 * @param isOwned true for a chain that may be left out of the text, although rules lead into it
 * @throws Rejection `malformed` with the line
 */
export function parseIptablesSave(
  text: string,
  field: string,
  isOwned: (table: string, chain: string) => boolean,
): SavedRules {
  const tables = new Map<string, SavedTable>();
  const notShown = new Set<string>();
  let besideLegacy = false;
  let table: OpenSavedTable | null = null;
  let number = 0;
  for (const line of text.split('\n')) {
    number += 1;
    const fault = (what: string) =>
      new Rejection('malformed', `${field} line ${number}: ${what}`, { field: `${field} line ${number}` });
    if (line.length > limits.rules.text) throw fault('too long');
    if (line.trim() === '') continue;
    if (line.startsWith('#')) {
      const hidden = /^# Table [`']([\w-]{1,64})' is incompatible/.exec(line)?.[1];
      if (hidden !== undefined) notShown.add(hidden);
      if (/^# Warning: ip6?tables-legacy tables present/.test(line)) besideLegacy = true;
      continue;
    }
    if (line.startsWith('*')) {
      const name = line.slice(1).trim();
      if (table !== null) throw fault('a table begins within another one');
      if (tables.has(name)) throw fault('a table for the second time');
      if (!/^[\w-]{1,64}$/.test(name)) throw fault('not the name of a table');
      table = { name, chains: new Map() };
    } else if (table === null) throw fault('stands outside of a table');
    else if (line.startsWith(':')) addChain(table, line, fault);
    else if (line.trim() === 'COMMIT') {
      tables.set(table.name, closed(table));
      table = null;
    } else addRule(table, line, isOwned, fault);
  }
  if (table !== null)
    throw new Rejection('malformed', `${field}: the table ${table.name} is cut off`, { field });
  return { tables: [...tables.values()], notShown, besideLegacy };
}

/** A rule of a captured reference, read again. @throws Rejection `malformed` */
export function parseSavedRule(text: string, chain: string, isChain: (name: string) => boolean): Rule {
  const fault = () => new Rejection('malformed', `reference rule "${text}"`, { field: 'reference.firewall' });
  const words = wordsOf(text);
  if (words === null || words[0]?.text !== '-A' || words[1]?.text !== chain) throw fault();
  return ruleOf(words, isChain);
}

interface OpenSavedTable {
  readonly name: string;
  readonly chains: Map<string, { readonly base: Base | null; readonly rules: Rule[] }>;
}

function addChain(
  { name: table, chains }: OpenSavedTable,
  line: string,
  fault: (what: string) => Rejection,
): void {
  const found = /^:(\S{1,64}) (\S{1,16})(?: \[\d{1,20}:\d{1,20}\])?\s*$/.exec(line);
  const [, name = '', policy = ''] = found ?? [];
  if (found === null || !['ACCEPT', 'DROP', '-'].includes(policy)) throw fault('not a chain and its policy');
  if (chains.has(name)) throw fault('a chain for the second time');
  const base = policy === '-' ? null : builtInBase(table, name, policy === 'DROP' ? 'drop' : 'accept');
  if (policy !== '-' && base === null) throw fault('a policy of a chain that no table begins with');
  chains.set(name, { base, rules: [] });
}

function addRule(
  { name, chains }: OpenSavedTable,
  line: string,
  isOwned: (table: string, chain: string) => boolean,
  fault: (what: string) => Rejection,
): void {
  const words = wordsOf(line.replace(/^\[\d{1,20}:\d{1,20}\] /, ''));
  if (words === null) throw fault('a quotation mark without its pair');
  const chain = chains.get(words[1]?.text ?? '');
  if (words[0]?.text !== '-A' || chain === undefined) throw fault('not a rule of a chain of this table');
  chain.rules.push(ruleOf(words, (target) => chains.has(target) || isOwned(name, target)));
}

function closed({ name, chains }: OpenSavedTable): SavedTable {
  return { name, chains: [...chains].map(([chain, { base, rules }]) => ({ name: chain, base, rules })) };
}

const hooks: Readonly<Record<string, string>> = {
  PREROUTING: 'prerouting',
  INPUT: 'input',
  FORWARD: 'forward',
  OUTPUT: 'output',
  POSTROUTING: 'postrouting',
};
/** Where each table stands in a hook, as nft counts it (linux/netfilter_ipv4.h). */
const priorities: Readonly<Record<string, number>> = { filter: 0, mangle: -150, raw: -300, security: 50 };

function builtInBase(table: string, chain: string, policy: Base['policy']): Base | null {
  const hook = Object.hasOwn(hooks, chain) ? hooks[chain] : undefined;
  if (hook === undefined) return null;
  if (table === 'nat') {
    const priority = hook === 'input' || hook === 'postrouting' ? 100 : -100;
    return { type: 'nat', hook, priority, policy, devices: [] };
  }
  const priority = Object.hasOwn(priorities, table) ? priorities[table] : undefined;
  if (priority === undefined) return null;
  const type = table === 'mangle' && hook === 'output' ? 'route' : 'filter';
  return { type, hook, priority, policy, devices: [] };
}

interface SavedArgument {
  readonly text: string;
  readonly quoted: boolean;
}

/** As iptables-restore reads a line: blanks part words, but for those between quotation marks. */
function wordsOf(line: string): readonly SavedArgument[] | null {
  const words: SavedArgument[] = [];
  let at = 0;
  while (at < line.length) {
    if (line[at] === ' ' || line[at] === '\t') {
      at += 1;
      continue;
    }
    const plain = plainWord(line, at);
    if (plain > at) {
      words.push({ text: line.slice(at, plain), quoted: false });
      at = plain;
      continue;
    }
    let text = '';
    let quoted = false;
    let open = false;
    for (; at < line.length; at++) {
      const letter = line[at]!;
      if (open && letter === '\\' && at + 1 < line.length) {
        at += 1;
        text += line[at]!;
      } else if (letter === '"') {
        open = !open;
        quoted = true;
      } else if (!open && (letter === ' ' || letter === '\t')) break;
      else text += letter;
    }
    if (open) return null;
    words.push({ text, quoted });
  }
  return words;
}

/** Where the word that begins here ends, if nothing in it is quoted; else here. */
function plainWord(line: string, start: number): number {
  let at = start;
  for (; at < line.length; at++) {
    const code = line.charCodeAt(at);
    if (code === 34) return start;
    if (code === 32 || code === 9) break;
  }
  return at;
}

function ruleOf(words: readonly SavedArgument[], isChain: (name: string) => boolean): Rule {
  const kept: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const { text, quoted } = words[i]!;
    // Counters, as `iptables-save -c` and older versions print them.
    if (!quoted && text === '-c' && isCount(words[i + 1]) && isCount(words[i + 2])) i += 2;
    else if (!quoted && text === '--comment' && i + 1 < words.length) {
      i += 1;
      kept.push('--comment', quotedWord(withoutIds(words[i]!.text), true));
    } else kept.push(quotedWord(text, quoted && mustQuote(text)));
  }
  const text = kept.join(' ');
  let clauses: readonly Clause[] | null = null;
  return {
    text,
    shown: () => text,
    clauses: () => {
      clauses ??= [clauseOf(words, isChain)];
      return clauses;
    },
  };
}

function isCount(word: SavedArgument | undefined): boolean {
  return word !== undefined && /^\d{1,20}$/.test(word.text);
}

function mustQuote(text: string): boolean {
  return text === '' || /[\s"\\]/.test(text) || text.startsWith('-') || text === '!';
}

function quotedWord(text: string, quoted: boolean): string {
  return quoted ? `"${text.replaceAll(/["\\]/g, '\\$&')}"` : text;
}

/** Matches that say nothing by themselves: their options do. */
const plainModules: ReadonlySet<string> = new Set([
  'conntrack',
  'state',
  'tcp',
  'udp',
  'udplite',
  'sctp',
  'dccp',
  'multiport',
  'comment',
  'mark',
  'iprange',
  'icmp',
  'icmp6',
  'ipv6-icmp',
]);

/** Targets that let a packet go on to the next rule. */
const passing: ReadonlySet<string> = new Set([
  'LOG',
  'NFLOG',
  'ULOG',
  'MARK',
  'CONNMARK',
  'CLASSIFY',
  'DSCP',
  'TOS',
  'TTL',
  'HL',
  'TCPMSS',
  'CT',
  'NOTRACK',
  'TRACE',
  'SET',
  'CHECKSUM',
  'AUDIT',
  'TEE',
  'SECMARK',
  'CONNSECMARK',
  'RATEEST',
  'IDLETIMER',
  'LED',
  'HMARK',
  'TCPOPTSTRIP',
  'ECN',
]);

/** True for a rule after which packets are of no connection that the kernel knows. */
export function isUntracking(text: string): boolean {
  return text.includes(' -j CT --notrack') || text.includes(' -j NOTRACK');
}

function clauseOf(words: readonly SavedArgument[], isChain: (name: string) => boolean): Clause {
  const conditions: Condition[] = [];
  let outcome: Outcome = { do: 'continue' };
  let not = false;
  let module = '';
  for (let i = 2; i < words.length; ) {
    const { text: option } = words[i]!;
    i += 1;
    if (option === '!') {
      not = true;
      continue;
    }
    const values: string[] = [];
    while (i < words.length && (words[i]!.quoted || !/^(-|!$)/.test(words[i]!.text))) {
      values.push(words[i]!.text);
      i += 1;
    }
    const [value = ''] = values;
    if (option === '-j' || option === '--jump' || option === '-g' || option === '--goto') {
      outcome = outcomeOf(value, option === '-g' || option === '--goto', isChain);
      // What follows are the options of the target.
      break;
    }
    if (option === '-m' || option === '--match') module = value;
    // By another module it would be the mark of a connection.
    const isMark = option === '--mark' && module === 'mark';
    const condition = isMark ? markOf(value, not) : conditionOf(option, values, not);
    if (condition !== null) conditions.push(condition);
    not = false;
  }
  return { conditions: followable(conditions), outcome };
}

function outcomeOf(target: string, goes: boolean, isChain: (name: string) => boolean): Outcome {
  if (isChain(target)) return { do: goes ? 'goto' : 'jump', chain: target };
  if (target === 'ACCEPT') return { do: 'accept' };
  if (target === 'DROP' || target === 'REJECT') return { do: 'drop' };
  if (target === 'RETURN') return { do: 'return' };
  return { do: passing.has(target) ? 'continue' : 'perhaps' };
}

/** Null if it holds for every packet. */
function conditionOf(option: string, values: readonly string[], not: boolean): Condition | null {
  const [value = ''] = values;
  switch (option) {
    case '-m':
    case '--match':
      return plainModules.has(value) ? null : unknown;
    case '--comment':
      return null;
    case '-p':
    case '--protocol':
      return value === 'all' || value === '0' ? null : { on: 'protocol', values: [protocolName(value)], not };
    case '-s':
    case '--source':
    case '--src-range':
      return sourceOf(value, not);
    case '-d':
    case '--destination':
      return !not && (value === '0.0.0.0/0' || value === '::/0') ? null : unknown;
    case '-i':
    case '--in-interface':
      return inputOf(value, not);
    case '--ctstate':
    case '--state':
      return { on: 'state', values: value.toLowerCase().split(','), not };
    case '--dport':
    case '--destination-port':
    case '--dports':
    case '--destination-ports':
      return portsOf(value, not);
    case '--tcp-flags':
      // A new connection begins with SYN.
      return !not && value === 'FIN,SYN,RST,ACK' && values[1] === 'SYN' ? null : unknown;
    default:
      return unknown;
  }
}

function inputOf(name: string, not: boolean): Condition {
  const names = [name];
  if (name === 'lo') return { on: 'input', loopback: true, names, not };
  const reachesLoopback = name.endsWith('+') && 'lo'.startsWith(name.slice(0, -1));
  return reachesLoopback ? unknown : { on: 'input', loopback: false, names, not };
}

/** `0x1`, or `0x0/0x10000` */
function markOf(text: string, not: boolean): Condition {
  const found = /^(0x[0-9a-fA-F]{1,8})(?:\/(0x[0-9a-fA-F]{1,8}))?$/.exec(text);
  const [, value, mask = '0xffffffff'] = found ?? [];
  return value === undefined ? unknown : { on: 'mark', value: BigInt(value), mask: BigInt(mask), not };
}

function sourceOf(text: string, not: boolean): Condition {
  const found = listed(text).map(addressRange);
  const family = found[0]?.family;
  if (family === undefined || found.some((one) => one?.family !== family)) return unknown;
  return {
    on: 'source',
    family,
    ranges: normalised(found.flatMap((one) => (one === null ? [] : [one.range]))),
    not,
  };
}

/** iptables itself prints 15 of them at most; empty if there are more. */
function listed(text: string): readonly string[] {
  const list = text.split(',', mostListed + 1);
  return list.length > mostListed ? [] : list;
}

const mostListed = 64;

function portsOf(text: string, not: boolean): Condition {
  const found = listed(text).map(portRange);
  if (found.length === 0 || found.includes(null)) return unknown;
  return { on: 'port', ranges: normalised(found.filter((one) => one !== null)), not };
}
