import {
  iptablesTables,
  isHostChain,
  ownerOfChain,
  ownerOfTable,
  withoutIds,
} from '../../attest-server/wire/owned-chains.ts';
import { filledBy, isPassing } from '../../attest-server/wire/passing-elements.ts';
import { type IsOwnAddress, isStrayRule } from '../../attest-server/wire/stray-rules.ts';
import { NetfilterFault } from './netfilter-fault.ts';
import type { OwnedSum } from './owned-rules.ts';

/** The output of `nft -j list ruleset`, less what changes by itself and what a declared owner writes. */
export interface NftRuleset {
  /** Members, each an object of one member: tables by family and name, in each its chains and sets by name, then rules. */
  readonly members: readonly unknown[];
  /** Tables of a name that iptables uses: it may have written them. */
  readonly iptables: { readonly ip: ReadonlySet<string>; readonly ip6: ReadonlySet<string> };
  /** Rules of chains that hold one which nft shows by the name of its extension alone, by `chainKey`. */
  readonly hidden: ReadonlyMap<string, number>;
  readonly baseChains: BaseChains;
  /** Chains that are to be compared, with the policy of base chains, by `chainKey`. */
  readonly policies: ReadonlyMap<string, string | null>;
  /** The rules of each chain in order, by `chainKey`: what they do, and which members they are. */
  readonly rulesOf: ReadonlyMap<string, readonly ListedRule[]>;
  /** The number of rules that are to be compared. */
  readonly rules: number;
}

export interface ListedRule {
  readonly expr: unknown;
  readonly member: unknown;
}

/** Each in one text: no name of nft can hold the separator. */
export const chainKey = (family: string, table: string, chain: string): string =>
  [family, table, chain].join('\0');

/** The hook that makes each a base chain, as `hookOf` has it, by `chainKey`. */
export type BaseChains = ReadonlyMap<string, string>;

/** The same for the same hook, or hooks, priority and policy. */
export function hookOf(chain: Readonly<Record<string, unknown>>): string {
  const { type, hook, prio, policy, dev } = chain;
  return JSON.stringify([type, hook, prio, policy, dev]);
}

/** @param isOwn whether an address is the node's @throws NetfilterFault `malformed` */
export function parseNftRuleset(text: string, owned: OwnedSum, isOwn: IsOwnAddress): NftRuleset {
  const baseChains = new Map<string, string>();
  const filled = new Set<string>();
  for (const { value } of membersOf(text, 'rule', /"op": ?"(?:add|update)"/))
    for (const name of filledBy(value.expr))
      filled.add(chainKey(nameOf(value, 'family'), nameOf(value, 'table'), name));
  for (const { value } of membersOf(text, 'chain'))
    if ('hook' in value)
      baseChains.set(
        chainKey(nameOf(value, 'family'), nameOf(value, 'table'), nameOf(value, 'name')),
        hookOf(value),
      );
  const kept: SortedEntry[] = [];
  const ownedChains = new Map<string, SortedEntry>();
  const iptables = { ip: new Set<string>(), ip6: new Set<string>() };
  const rulesOf = new Map<string, ListedRule[]>();
  const hidden = new Set<string>();
  const policies = new Map<string, string | null>();
  let index = 0;
  for (const { kind, value } of membersOf(text)) {
    index++;
    if (kind === 'metainfo') {
      kept.push({ place: ['', '', '', ''], index, member: { [kind]: value } });
      continue;
    }
    const family = nameOf(value, 'family');
    const table = nameOf(value, kind === 'table' ? 'name' : 'table');
    if (kind === 'table' && (family === 'ip' || family === 'ip6') && iptablesTables.has(table))
      iptables[family].add(table);
    const chain = kind === 'rule' ? nameOf(value, 'chain') : kind === 'chain' ? nameOf(value, 'name') : null;
    const key = chain === null ? null : chainKey(family, table, chain);
    const isBase = key !== null && baseChains.has(key);
    // Rules of a hook must not be taken for those of a declared owner.
    if (kind === 'chain' && 'hook' in value && !isBase)
      throw new NetfilterFault('malformed', 'nft wrote a base chain in a form that is not known');
    const isFilled = kind !== 'table' && filled.has(chainKey(family, table, String(value.name)));
    const steady = steadied(value, kind, isFilled);
    const owner = kind === 'table' ? null : ownerOf(family, table, chain, kind, isBase);
    const isStray =
      owner !== null &&
      kind === 'rule' &&
      isStrayRule({ owner: owner.owner, chain: chain ?? '' }, steady.expr, isOwn);
    if (owner !== null && key !== null && kind === 'chain')
      ownedChains.set(key, {
        place: [family, table, order(kind), chain ?? ''],
        index,
        member: { chain: steady },
      });
    if (isStray && key !== null) {
      // A rule without a chain is ignored: nft lists the chains of a table before its rules.
      const head = ownedChains.get(key);
      if (head !== undefined) kept.push(head);
      ownedChains.delete(key);
      kept.push({ place: [family, table, order(kind), chain ?? ''], index, member: { rule: steady } });
      continue;
    }
    if (owner !== null) {
      owned.add(
        { from: 'nft', family, table, chain: owner.as, owner: owner.owner },
        JSON.stringify(steady),
        kind === 'rule',
      );
      continue;
    }
    const member = { [kind]: steady };
    if (kind === 'chain' && key !== null)
      policies.set(key, isBase && typeof value.policy === 'string' ? value.policy : null);
    if (kind === 'rule' && key !== null) {
      const rules = rulesOf.get(key) ?? [];
      rules.push({ expr: steady.expr, member });
      rulesOf.set(key, rules);
      if (hasExtension(value)) hidden.add(key);
    }
    const name = kind === 'rule' ? (chain ?? '') : kind === 'table' ? '' : nameOf(value, 'name');
    kept.push({ place: [family, table, order(kind), name], index, member });
  }
  return {
    members: kept.sort(byPlace).map(({ member }) => member),
    iptables,
    hidden: new Map([...hidden].map((key) => [key, rulesOf.get(key)?.length ?? 0])),
    baseChains,
    policies,
    rulesOf,
    rules: kept.filter(({ place }) => place[2] === '3').length,
  };
}

type JsonObject = Readonly<Record<string, unknown>>;

interface RulesetMember {
  readonly kind: string;
  readonly value: JsonObject;
}

/**
 * One after the other, since most are left out: thousands of services would fill the memory of this program.
 * @param only members of this kind, the others are not even parsed @param like and of those, texts with this in them
 */
function* membersOf(text: string, only?: string, like?: RegExp): Generator<RulesetMember> {
  const begin = /^\s*\{\s*"nftables"\s*:\s*\[\s*/.exec(text)?.[0];
  if (begin === undefined) throw new NetfilterFault('malformed', 'nft wrote no JSON with a member nftables');
  const start = only === undefined ? null : new RegExp(`\\{\\s*"${only}"`, 'y');
  let at = begin.length;
  for (let isFirst = true; text[at] !== ']' || !isFirst; isFirst = false) {
    const end = endOfMember(text, at);
    if (start !== null) start.lastIndex = at;
    if (start === null || start.test(text)) {
      const member = text.slice(at, end);
      if (like === undefined || like.test(member)) yield memberOf(member);
    }
    at = skipBlanks(text, end);
    if (text[at] === ']') break;
    if (text[at] !== ',') throw new NetfilterFault('malformed', `nft wrote no list of members, at ${at}`);
    at = skipBlanks(text, at + 1);
  }
  if (!/^\]\s*\}\s*$/.test(text.slice(at, at + 64)) || text.length > at + 64)
    throw new NetfilterFault('malformed', 'nft wrote something after its list');
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++;
  return at;
}

/** Behind the bracket that closes the one at `from`; brackets within strings are none. */
function endOfMember(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) at = endOfString(text, at);
    else if (code === 0x7b) depth++;
    else if (code === 0x7d && --depth === 0) return at + 1;
    if (depth === 0) break;
  }
  throw new NetfilterFault('malformed', `nft wrote a member that does not end, at ${from}`);
}

/** The mark that closes the string which begins at `from`. */
function endOfString(text: string, from: number): number {
  for (let at = text.indexOf('"', from + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let marks = 0;
    while (text.charCodeAt(at - 1 - marks) === 0x5c) marks++;
    if (marks % 2 === 0) return at;
  }
  return text.length;
}

function memberOf(text: string): RulesetMember {
  let member: unknown;
  try {
    member = JSON.parse(text);
  } catch (cause) {
    throw new NetfilterFault('malformed', 'nft wrote a member that is no JSON', cause);
  }
  const [entry, ...others] = isValue(member) ? Object.entries(member) : [];
  if (entry === undefined || others.length > 0 || !isValue(entry[1]))
    throw new NetfilterFault('malformed', 'nft wrote a member that is no object of one member');
  checkName(entry[0]);
  return { kind: entry[0], value: entry[1] };
}

/** Names of members are nft's own: no other is copied. */
function checkName(key: string): void {
  if (key === '__proto__') throw new NetfilterFault('malformed', 'nft wrote a member __proto__');
}

function isValue(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function nameOf(value: JsonObject, key: string): string {
  const name = value[key];
  if (typeof name === 'string' && name !== '') return name;
  throw new NetfilterFault('malformed', `nft wrote a member without ${key}`);
}

/** A base chain of a declared table stays itself; what it holds is left out, but for host endpoints. */
function ownerOf(
  family: string,
  table: string,
  chain: string | null,
  kind: string,
  isBase: boolean,
): { readonly owner: string; readonly as: string } | null {
  if (chain !== null && isHostChain(family, table, chain)) return null;
  const whole = ownerOfTable(family, table);
  if (whole !== null) return kind === 'chain' && isBase ? null : { owner: whole, as: chain ?? '*' };
  return chain === null || isBase ? null : ownerOfChain(family, table, chain);
}

interface SortedEntry {
  readonly place: readonly [family: string, table: string, order: string, name: string];
  readonly index: number;
  readonly member: unknown;
}

/** The kernel lists by when something was made; only rules of one chain have an order that counts. */
function byPlace(one: SortedEntry, other: SortedEntry): number {
  for (const [at, part] of one.place.entries()) {
    const its = other.place[at] ?? '';
    if (part !== its) return part < its ? -1 : 1;
  }
  return one.index - other.index;
}

/** The order of members of one table; rules come last, as nft lists them. */
const order = (kind: string): string =>
  kind === 'table' ? '0' : kind === 'chain' ? '1' : kind === 'rule' ? '3' : `2${kind}`;

/** Members that traffic changes in an object with a name, besides its handle. */
const moving: ReadonlyMap<string, readonly string[]> = new Map([
  ['counter', ['packets', 'bytes']],
  ['quota', ['used']],
]);

/** The value without handles, counts and elements that time out. */
function steadied(value: JsonObject, kind: string, isFilled: boolean): JsonObject {
  const out: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value)) {
    checkName(key);
    if (key === 'handle' || key === 'index' || moving.get(kind)?.includes(key)) continue;
    if (key === 'comment' && typeof member === 'string') out[key] = withoutIds(member);
    else if (key === 'elem' && (kind === 'set' || kind === 'map')) {
      const { flags } = value;
      const isDynamic = flags === 'dynamic' || (Array.isArray(flags) && flags.includes('dynamic'));
      const elements = elementsOf(member, isFilled || isDynamic);
      if (elements.length > 0) out[key] = elements;
    } else if (key === 'expr' || key === 'stmt') out[key] = calm(member, 0);
    else out[key] = member;
  }
  return out;
}

/** nft itself nests no deeper than some dozens. */
const deepest = 64;

/** An expression without counts. Anonymous sets are sorted: the kernel keeps them by a hash of its own. */
function calm(value: unknown, depth: number): unknown {
  if (depth > deepest)
    throw new NetfilterFault('malformed', 'nft wrote an expression that is nested too deep');
  if (Array.isArray(value)) return value.map((each) => calm(each, depth + 1));
  if (!isValue(value)) return value;
  const out: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value)) {
    checkName(key);
    if (key === 'set' && Array.isArray(member))
      out[key] = sorted(member.map((each) => calm(each, depth + 1)));
    else if ((key === 'counter' || key === 'last') && isValue(member)) out[key] = null;
    else if (key === 'quota' && isValue(member)) {
      const { used: _used, used_unit: _unit, ...quota } = member;
      out[key] = quota;
    } else out[key] = calm(member, depth + 1);
  }
  return out;
}

/**
 * `X`, `[X, what it maps to]`; X may be `{"elem": {"val", "timeout", "expires", "counter", …}}`
 * @param mayPass whether the work of traffic is left out
 */
function elementsOf(given: unknown, mayPass: boolean): readonly unknown[] {
  if (!Array.isArray(given)) return [];
  return sorted(
    given.flatMap((element: unknown) => {
      const key: unknown = Array.isArray(element) ? element[0] : element;
      const about = isValue(key) && isValue(key.elem) ? key.elem : null;
      if (about === null) return [calm(element, 0)];
      if (mayPass && isPassing(element)) return [];
      const { expires: _expires, counter: _counter, last: _last, ...rest } = about;
      const names = Object.keys(rest);
      const plain = names.length === 1 && names[0] === 'val' ? rest.val : { elem: rest };
      return [calm(Array.isArray(element) ? [plain, ...element.slice(1)] : plain, 0)];
    }),
  );
}

function sorted(values: readonly unknown[]): readonly unknown[] {
  return values
    .map((value) => ({ value, text: JSON.stringify(value) }))
    .sort((one, other) => (one.text < other.text ? -1 : one.text > other.text ? 1 : 0))
    .map(({ value }) => value);
}

/** An extension of xtables, of which nft's JSON has no more than the name. */
export function hasExtension({ expr }: JsonObject): boolean {
  return Array.isArray(expr) && expr.some((each: unknown) => isValue(each) && 'xt' in each);
}
