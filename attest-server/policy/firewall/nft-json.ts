import { limits } from '../../wire/limits.ts';
import { ownerOfTable, withoutIds } from '../../wire/owned-chains.ts';
import { filledBy, isPassing } from '../../wire/passing-elements.ts';
import { Rejection } from '../../wire/rejection.ts';
import { fields, isJsonObject, type JsonObject } from './json-object.ts';
import { type Elements, namedElements, nftClauses } from './nft-clauses.ts';
import { shownElement, shownStatements } from './nft-text.ts';
import { type Base, type Chain, type Family, type NamedObject, objectKey, type Rule } from './ruleset.ts';

/** The output of `nft -j list ruleset` (libnftables-json(5), schema 1), by table. */
export interface NftTable {
  readonly family: Family;
  readonly name: string;
  /** Its chains are there, and the kernel enters none of them. */
  readonly dormant: boolean;
  readonly chains: Map<string, NftChain>;
  readonly objects: readonly NamedObject[];
  /** The elements of its sets and maps, as rules ask for them. */
  readonly values: (name: string) => Elements;
}

export interface NftChain extends Pick<Chain, 'name' | 'base'> {
  readonly rules: Rule[];
}

/**
 * @param members each an object of one member
 * @throws Rejection `malformed` with the member
 */
export function parseNft(
  members: readonly Readonly<Record<string, unknown>>[],
): ReadonlyMap<string, NftTable> {
  const tables = new Map<string, OpenNftTable>();
  const named: (() => void)[] = [];
  // Members may come in any order that has a table before what stands in it.
  for (const [index, member] of members.entries()) {
    const fault = (what: string) =>
      new Rejection('malformed', `firewall field nft.${index}: ${what}`, { field: `firewall.nft.${index}` });
    const keys = Object.keys(member);
    const [type] = keys;
    if (type === undefined || keys.length > 1) throw fault('not an object of one member');
    if (type === 'metainfo') continue;
    const value = member[type];
    if (!isJsonObject(value)) throw fault('not an object');
    const family = familyOf(value.family);
    if (family === null) throw fault('no family that is known');
    if (type === 'table') {
      const name = nameOf(value.name, fault);
      const key = `${family} ${name}`;
      if (tables.has(key)) throw fault('a table for the second time');
      const elements = new Map<string, Elements>();
      tables.set(key, {
        family,
        name,
        dormant: wordsIn(value.flags).includes('dormant'),
        chains: new Map(),
        objects: [],
        elements,
        values: (name) => elements.get(name) ?? null,
        keys: new Set(),
        filled: new Set(),
      });
      continue;
    }
    const table = tables.get(`${family} ${nameOf(value.table, fault)}`);
    if (table === undefined) throw fault('stands in no table');
    if (type === 'chain') addChain(table, value, fault);
    else if (type === 'rule') addRule(table, value, fault);
    // Which elements are the work of traffic, the rules of the table say: they stand behind its sets.
    else named.push(() => table.objects.push(namedObject(table, type, value, fault)));
  }
  for (const add of named) add();
  return tables;
}

/** A rule of a captured reference, read again: canonical statements. @throws Rejection `malformed` */
export function parseNftRule(text: string, values: (name: string) => Elements): Rule {
  const fault = (what: string) =>
    new Rejection('malformed', `reference rule: ${what}`, { field: 'reference.firewall' });
  let statements: unknown;
  try {
    statements = JSON.parse(text);
  } catch {
    throw fault('not JSON');
  }
  if (!Array.isArray(statements)) throw fault('not a list of statements');
  return ruleOf(statements.map(fields), values);
}

interface OpenNftTable extends NftTable {
  readonly objects: NamedObject[];
  readonly elements: Map<string, Elements>;
  readonly keys: Set<string>;
  /** Sets and maps to which some rule adds elements. */
  readonly filled: Set<string>;
}

type RejectWith = (what: string) => Rejection;

const families: ReadonlySet<unknown> = new Set(['ip', 'ip6', 'inet', 'arp', 'bridge', 'netdev']);
function familyOf(value: unknown): Family | null {
  return families.has(value) ? (value as Family) : null;
}

function nameOf(value: unknown, fault: RejectWith): string {
  if (typeof value !== 'string' || value === '' || value.length > 256) throw fault('no name');
  return value;
}

function wordsIn(value: unknown): readonly string[] {
  const list = Array.isArray(value) ? value : [value];
  return list.filter((one) => typeof one === 'string').sort();
}

function addChain(table: OpenNftTable, value: JsonObject, fault: RejectWith): void {
  const name = nameOf(value.name, fault);
  if (table.chains.has(name)) throw fault('a chain for the second time');
  table.chains.set(name, {
    name,
    base: value.hook === undefined ? null : baseOf(value, table, fault),
    rules: [],
  });
}

function baseOf(
  { type, hook, prio, policy, dev }: JsonObject,
  { family }: OpenNftTable,
  fault: RejectWith,
): Base {
  if (typeof type !== 'string' || typeof hook !== 'string') throw fault('a base chain without type or hook');
  const priority = priorityOf(prio, family);
  if (priority === null) throw fault('no priority that is known');
  if (policy !== undefined && policy !== 'accept' && policy !== 'drop')
    throw fault('no policy that is known');
  return { type, hook, priority, policy: policy ?? 'accept', devices: wordsIn(dev) };
}

/** Names that some versions print in place of numbers (nft(8), "Standard priority names"). */
const names: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
};
const bridgeNames: Readonly<Record<string, number>> = { dstnat: -300, filter: -200, out: 100, srcnat: 300 };

function priorityOf(value: unknown, family: Family): number | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : null;
  if (typeof value !== 'string') return null;
  const found = /^(?:([a-z]{1,16})|(-?\d{1,10}))(?: ?([+-]) ?(\d{1,10}))?$/.exec(value);
  if (found === null) return null;
  const [, name, number, sign, offset = '0'] = found;
  const known = family === 'bridge' ? bridgeNames : names;
  const start = name === undefined ? Number(number) : Object.hasOwn(known, name) ? known[name] : undefined;
  return start === undefined ? null : start + (sign === '-' ? -1 : 1) * Number(offset);
}

function addRule(table: OpenNftTable, value: JsonObject, fault: RejectWith): void {
  const chain = table.chains.get(nameOf(value.chain, fault));
  if (chain === undefined) throw fault('a rule of no chain');
  if (!Array.isArray(value.expr)) throw fault('a rule without its list of statements');
  const statements: JsonObject[] = [];
  for (const one of value.expr) {
    // Unknown forms are still compared.
    if (!isJsonObject(one) || Object.keys(one).length !== 1)
      statements.push({ opaque: canonical(one, fault) });
    else addStatement(statements, one, table.family, fault);
  }
  const { comment } = value;
  if (typeof comment === 'string') statements.push({ comment: withoutIds(comment) });
  const rule = ruleOf(withoutImplied(statements, table.family), table.values);
  if (rule.text.length > limits.rules.text) throw fault('a rule that is too long');
  chain.rules.push(rule);
  for (const name of filledBy(value.expr)) table.filled.add(name);
}

function ruleOf(statements: readonly JsonObject[], values: (name: string) => Elements): Rule {
  let clauses: ReturnType<Rule['clauses']> | null = null;
  return {
    text: JSON.stringify(statements),
    shown: () => shownStatements(statements),
    clauses: () => {
      if (clauses !== null) return clauses;
      const made = nftClauses(statements, values);
      // Those of a large map are made again each time: many rules may ask it.
      if (made.length <= mostKept) clauses = made;
      return made;
    },
  };
}

const mostKept = 16;

/** Adds one statement as it is compared: without counts and state, in one order. */
function addStatement(
  statements: JsonObject[],
  statement: JsonObject,
  family: Family,
  fault: RejectWith,
): void {
  const [key = ''] = Object.keys(statement);
  const value = statement[key];
  // An anonymous counter changes nothing but itself.
  if (key === 'counter' && typeof value !== 'string') return;
  if (key === 'match') {
    statements.push({ match: matchOf(fields(value), fault) });
    return;
  }
  if (key === 'limit' && isJsonObject(value)) {
    const { burst, inv, rate_unit: unit, burst_unit: burstUnit, ...others } = fields(value);
    const own = {
      ...others,
      ...(burst !== undefined && burst !== 5 && burst !== 0 && { burst }),
      ...(inv === true && { inv }),
      ...(unit !== undefined && unit !== 'packets' && { rate_unit: unit }),
      ...(burstUnit !== undefined && burst !== 0 && { burst_unit: burstUnit }),
    };
    statements.push({ limit: canonical(own, fault) });
    return;
  }
  if (key === 'quota' && isJsonObject(value)) {
    const { used: _used, used_unit: _unit, ...others } = fields(value);
    statements.push({ quota: canonical(others, fault) });
    return;
  }
  if (key === 'reject') {
    const { type, expr } = fields(value);
    // `reject` alone sends this one; some versions print it. Another family's would not be sent for every packet.
    const isOwn =
      type === undefined || type === (family === 'ip' ? 'icmp' : family === 'ip6' ? 'icmpv6' : 'icmpx');
    const isUsual = isOwn && (expr === undefined || expr === 'port-unreachable');
    statements.push({ reject: isUsual ? null : canonical(value, fault) });
    return;
  }
  statements.push({ [key]: canonical(value, fault) });
}

function matchOf({ op, left, right }: JsonObject, fault: RejectWith): JsonObject {
  const field = canonical(left, fault);
  const value = canonical(right, fault);
  const ct = fields(fields(field).ct);
  // One list of states has three forms, which say the same.
  const isStates = ct.key === 'state' && (op === 'in' || op === '==' || op === undefined);
  if (!isStates) return { op: op === undefined ? '==' : canonical(op, fault), left: field, right: value };
  const states = fields(value).set ?? value;
  return { op: 'in', left: field, right: wordsIn(states).length > 0 ? wordsIn(states) : states };
}

/** Deeper than nft's own parser nests. */
const deepest = 24;

/** The same for all orders of members, and of elements of a set; elements without counters and times left. */
function canonical(value: unknown, fault: RejectWith, depth = 0): unknown {
  if (depth > deepest) throw fault('nested too deep');
  if (Array.isArray(value)) return value.map((one) => canonical(one, fault, depth + 1));
  if (!isJsonObject(value)) return value;
  const keys = Object.keys(value);
  const { val } = fields(value.elem);
  if (val !== undefined && keys.length === 1) return canonical(val, fault, depth + 1);
  const made: Record<string, unknown> = {};
  for (const key of keys.sort()) {
    const own = canonical(value[key], fault, depth + 1);
    made[key] = key === 'set' && Array.isArray(own) ? sortedByText(own) : own;
  }
  return made;
}

function sortedByText(values: readonly unknown[]): readonly unknown[] {
  if (values.length < 2) return values;
  return values
    .map((value) => ({ value, text: JSON.stringify(value) }))
    .sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
    .map(({ value }) => value);
}

/** Without a match that the next one implies: some versions print it, others do not. */
function withoutImplied(statements: readonly JsonObject[], family: Family): readonly JsonObject[] {
  return statements.filter((statement, index) => {
    const { op, left, right } = fields(statement.match);
    const meta = fields(fields(left).meta).key;
    if (op !== '==' || (meta !== 'l4proto' && meta !== 'nfproto' && meta !== 'protocol')) return true;
    const next = fields(fields(statements[index + 1]?.match).left);
    const { protocol, tunnel } = fields(next.payload);
    if (protocol === undefined || tunnel !== undefined) return true;
    if (meta === 'l4proto') return right !== protocol;
    const version =
      right === 'ipv4' || right === 'ip' ? 'ip' : right === 'ipv6' || right === 'ip6' ? 'ip6' : null;
    return version !== protocol || family === 'netdev' || family === 'bridge';
  });
}

/** Members that change by themselves: no part of what somebody wrote. */
const state: ReadonlySet<string> = new Set(['family', 'table', 'name', 'handle', 'elem', 'comment']);
const moving: Readonly<Record<string, readonly string[]>> = {
  counter: ['packets', 'bytes'],
  quota: ['used', 'used_unit'],
};

function namedObject(table: OpenNftTable, type: string, value: JsonObject, fault: RejectWith): NamedObject {
  const name = nameOf(value.name, fault);
  const { family, name: tableName } = table;
  const kept: Record<string, unknown> = {};
  for (const key of Object.keys(value).sort())
    if (!state.has(key) && !(Object.hasOwn(moving, type) && moving[type]?.includes(key)))
      kept[key] = key === 'flags' || key === 'dev' ? wordsIn(value[key]) : canonical(value[key], fault);
  const isSet = type === 'set' || type === 'map';
  const given = Array.isArray(value.elem) ? value.elem : value.elem === undefined ? [] : [value.elem];
  if (given.length > limits.rules.elements) throw fault('too many elements');
  const flags = wordsIn(value.flags);
  const mayPass = flags.includes('dynamic') || table.filled.has(name);
  const lasting = mayPass ? given.filter((one) => !isPassing(one)) : given;
  const elements = sortedByText(lasting.map((one) => canonical(one, fault)));
  if (isSet) {
    const moves = flags.includes('dynamic') || flags.includes('timeout') || value.timeout !== undefined;
    table.elements.set(name, moves ? null : namedElements(elements));
  }
  const made = {
    family,
    table: tableName,
    type,
    name,
    head: JSON.stringify(kept),
    elements: elements.map((one) => JSON.stringify(one)),
    owner: ownerOfTable(family, tableName),
  };
  if (table.keys.has(objectKey(made))) throw fault('an object for the second time');
  table.keys.add(objectKey(made));
  return made;
}

/** The elements of a captured reference, as rules ask for them. @throws Rejection `malformed` */
export function elementsIn({ head, elements }: Pick<NamedObject, 'head' | 'elements'>): Elements {
  return /"(dynamic|timeout)"/.test(head) ? null : namedElements(elements.map(elementOf));
}

function elementOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Rejection('malformed', 'reference element: not JSON', { field: 'reference.firewall', cause });
  }
}

/** An element as a person reads it. */
export function shownText(element: string): string {
  try {
    return shownElement(JSON.parse(element));
  } catch {
    return element;
  }
}
