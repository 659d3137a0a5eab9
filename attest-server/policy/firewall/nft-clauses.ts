import { type Clause, type Condition, followable, type Outcome, protocolName, unknown } from './clause.ts';
import { fields, type JsonObject } from './json-object.ts';
import { type AddressRange, addressRange, normalised, portRange, type Ranges } from './ranges.ts';

/** The elements of a named set or map; null if nobody here knows them. Many rules may ask one set: it is read once. */
export type Elements = NamedElements | null;
export interface NamedElements {
  readonly list: readonly unknown[];
  readonly addresses: (family: 4 | 6) => Ranges | null;
  readonly ports: () => Ranges | null;
}

export function namedElements(list: readonly unknown[]): NamedElements {
  const known = new Map<4 | 6 | 'ports', Ranges | null>();
  const once = (what: 4 | 6 | 'ports', read: () => Ranges | null) => {
    const found = known.get(what);
    if (found !== undefined) return found;
    const made = read();
    known.set(what, made);
    return made;
  };
  return {
    list,
    addresses: (family) => once(family, () => addressesIn(list, family)),
    ports: () => once('ports', () => portsIn(list)),
  };
}

/** The most elements of a set without a name: more than anybody writes into one rule. */
const mostAnonymous = 1024;

/** The most elements of a named set that become conditions or clauses of each rule that names it. */
const mostElements = 64;

type ElementLookup = (name: string) => Elements;

/** The clauses of a rule's statements: one, and one for each element of a verdict map. */
export function nftClauses(statements: readonly JsonObject[], values: ElementLookup): readonly Clause[] {
  const clauses: Clause[] = [];
  let conditions: readonly Condition[] = [];
  for (const statement of statements) {
    // Attack: a rule of nothing but maps, each of which multiplies what is to be followed.
    if (clauses.length > mostInMap) return [anything];
    const [key = ''] = Object.keys(statement);
    const own = fields(statement[key]);
    if (key === 'match') conditions = followable([...conditions, ...conditionsOf(own, values)]);
    else if (key === 'opaque') return [...clauses, anything];
    else if (key === 'vmap') clauses.push(...ofMap(own, conditions, values));
    else if (key === 'xt') {
      const outcome = own.type === 'target' ? extension(own.name) : null;
      if (outcome !== null) return [...clauses, { conditions, outcome }];
      // What it wants of a packet stands in the text of iptables-save alone.
      if (own.type !== 'target') conditions = followable([...conditions, unknown]);
    } else {
      const outcome = verdictOf(statement);
      if (key === 'reject') conditions = [...conditions, ...ofReject(own.type)];
      if (outcome !== null) return [...clauses, { conditions, outcome }];
      if (!harmless.has(key)) conditions = followable([...conditions, unknown]);
    }
  }
  return clauses;
}

/** A rule that nobody here can tell: it may accept, and it may not. */
const anything: Clause = { conditions: [unknown], outcome: { do: 'perhaps' } };

/** nft shows no match for what an answer of that kind takes for granted. */
function ofReject(type: unknown): readonly Condition[] {
  if (type === 'tcp reset') return [{ on: 'protocol', values: ['tcp'], not: false }];
  if (type === 'icmp') return [{ on: 'family', family: 4, not: false }];
  return type === 'icmpv6' ? [{ on: 'family', family: 6, not: false }] : [];
}

/** Statements after which every packet goes on. */
const harmless: ReadonlySet<string> = new Set([
  'counter',
  'log',
  'comment',
  'notrack',
  'mangle',
  'dup',
  'flow',
  'ct helper',
]);
const passingTargets: ReadonlySet<unknown> = new Set([
  'LOG',
  'NFLOG',
  'MARK',
  'CONNMARK',
  'CT',
  'TCPMSS',
  'CHECKSUM',
  'TRACE',
  'CLASSIFY',
]);

/** Null if a packet goes on. */
function extension(name: unknown): Outcome | null {
  if (name === 'REJECT') return { do: 'drop' };
  return passingTargets.has(name) ? null : { do: 'perhaps' };
}

function verdictOf(statement: unknown): Outcome | null {
  const own = fields(statement);
  const [key = ''] = Object.keys(own);
  switch (key) {
    case 'accept':
      return { do: 'accept' };
    case 'drop':
    case 'reject':
      return { do: 'drop' };
    case 'return':
      return { do: 'return' };
    case 'jump':
    case 'goto': {
      const { target } = fields(own[key]);
      return typeof target === 'string' ? { do: key, chain: target } : { do: 'perhaps' };
    }
    case 'queue':
    case 'dnat':
    case 'snat':
    case 'redirect':
    case 'masquerade':
    case 'synproxy':
    case 'fwd':
      return { do: 'perhaps' };
    default:
      return null;
  }
}

const mostInMap = 256;

function ofMap(
  { key, data }: JsonObject,
  conditions: readonly Condition[],
  values: ElementLookup,
): readonly Clause[] {
  const { set } = fields(data);
  const elements = Array.isArray(set) ? set : (namedBy(data, values)?.list ?? null);
  // More of them than anybody walks through for each rule that asks the map.
  if (elements !== null && elements.length > mostInMap)
    return [{ conditions: [...conditions, unknown], outcome: { do: 'perhaps' } }];
  if (elements === null) return [{ conditions: [...conditions, unknown], outcome: { do: 'perhaps' } }];
  const clauses: Clause[] = [];
  for (const element of elements) {
    const [value, verdict] = Array.isArray(element) ? element : [];
    const own = fields(verdict);
    const outcome = verdictOf(own);
    if (outcome === null && !('continue' in own))
      clauses.push({ conditions: [...conditions, unknown], outcome: { do: 'perhaps' } });
    else if (outcome !== null)
      clauses.push({
        conditions: [
          ...conditions,
          // `*` takes what no other element took: they stand before it as it is asked last.
          ...(value === '*' ? [unknown] : conditionsOf({ op: '==', left: key, right: value }, values)),
        ],
        outcome,
      });
  }
  return clauses;
}

function conditionsOf({ op, left, right }: JsonObject, values: ElementLookup): readonly Condition[] {
  const isNot = op === '!=';
  const field = fields(left);
  if (Array.isArray(field.concat)) return isNot ? [unknown] : ofConcatenation(field.concat, right, values);
  const meta = fields(field.meta).key;
  const { protocol, field: payload, tunnel } = fields(field.payload);
  // Of the packet within, and nobody here takes that out.
  if (tunnel !== undefined) return [unknown];
  const masked = maskedMark(left);
  if (masked !== null) return [markOf(op, right, masked)];
  const isEqual = op === '==' || op === '!=' || op === 'in';
  const list = isEqual ? listOf(right, values) : null;
  if (meta === 'iif' || meta === 'iifname') return [inputOf(list, isNot)];
  if (meta === 'l4proto') return [protocolOf(list, isNot)];
  if (meta === 'nfproto' || meta === 'protocol') return [familyOf(list, isNot)];
  if (fields(field.ct).key === 'state') return [statesOf(list, isNot)];
  if (protocol === 'ip' || protocol === 'ip6') {
    const family = protocol === 'ip' ? 4 : 6;
    const of: Condition = { on: 'family', family, not: false };
    if (payload === 'saddr') return [of, sourceOf(addresses(right, list, values, family), family, isNot)];
    if (payload === 'protocol' || payload === 'nexthdr') return [of, protocolOf(list, isNot)];
    return [of, unknown];
  }
  if (protocol === 'th' && payload === 'dport') return [portsOf(op, right, portsNamed(right, list, values))];
  if (typeof protocol === 'string' && transports.has(protocol)) {
    const of: Condition = { on: 'protocol', values: [protocolName(protocol)], not: false };
    return [of, payload === 'dport' ? portsOf(op, right, portsNamed(right, list, values)) : unknown];
  }
  return [unknown];
}

/** Whoever matches has in each field one of the values there; the other way round that holds for a single element alone. */
function ofConcatenation(
  lefts: readonly unknown[],
  right: unknown,
  values: ElementLookup,
): readonly Condition[] {
  const elements = listOf(right, values)?.map((one) => fields(one).concat) ?? null;
  if (elements === null || !elements.every((one) => Array.isArray(one) && one.length === lefts.length))
    return [unknown];
  const conditions = lefts.flatMap((left, index) => {
    const set = elements.map((one) => (Array.isArray(one) ? one[index] : null));
    return conditionsOf({ op: '==', left, right: { set } }, values);
  });
  return elements.length === 1 ? conditions : [...conditions, unknown];
}

const transports: ReadonlySet<string> = new Set(['tcp', 'udp', 'udplite', 'sctp', 'dccp', 'icmp', 'icmpv6']);

/** Undefined if it is no name of a set. */
function namedBy(right: unknown, values: ElementLookup): Elements | undefined {
  return typeof right === 'string' && right.startsWith('@') ? values(right.slice(1)) : undefined;
}

/** The values that the right side names; null if nobody here can tell. */
function listOf(right: unknown, values: ElementLookup): readonly unknown[] | null {
  const named = namedBy(right, values);
  if (named !== undefined) return named !== null && named.list.length <= mostElements ? named.list : null;
  const { set } = fields(right);
  if (Array.isArray(set)) return set.length <= mostAnonymous ? set : null;
  return Array.isArray(right) ? right : [right];
}

function inputOf(list: readonly unknown[] | null, not: boolean): Condition {
  if (list === null || !list.every((one) => typeof one === 'string')) return unknown;
  if (list.every((name) => name === 'lo')) return { on: 'input', loopback: true, names: list, not };
  const reachesLoopback = list.some(
    (name) => name === 'lo' || (name.endsWith('*') && 'lo'.startsWith(name.slice(0, -1))),
  );
  return reachesLoopback ? unknown : { on: 'input', loopback: false, names: list, not };
}

/** Which bits of the mark are asked about: `meta mark`, or `meta mark & 0x10000`; null if it is something else. */
function maskedMark(left: unknown): bigint | null {
  const field = fields(left);
  if (fields(field.meta).key === 'mark') return 0xffff_ffffn;
  const [of, mask] = Array.isArray(field['&']) ? field['&'] : [];
  return fields(fields(of).meta).key === 'mark' && isWord(mask) ? BigInt(mask) : null;
}

function markOf(op: unknown, right: unknown, mask: bigint): Condition {
  return (op === '==' || op === '!=') && isWord(right)
    ? { on: 'mark', value: BigInt(right), mask, not: op === '!=' }
    : unknown;
}

function isWord(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

function protocolOf(list: readonly unknown[] | null, not: boolean): Condition {
  if (list === null || !list.every((one) => typeof one === 'string' || typeof one === 'number'))
    return unknown;
  return { on: 'protocol', values: list.map((one) => protocolName(String(one))), not };
}

function familyOf(list: readonly unknown[] | null, not: boolean): Condition {
  const [only] = list?.length === 1 ? list : [];
  if (only === 'ipv4' || only === 'ip') return { on: 'family', family: 4, not };
  return only === 'ipv6' || only === 'ip6' ? { on: 'family', family: 6, not } : unknown;
}

function statesOf(list: readonly unknown[] | null, not: boolean): Condition {
  if (list === null || !list.every((one) => typeof one === 'string')) return unknown;
  return { on: 'state', values: list, not };
}

function sourceOf(ranges: Ranges | null, family: 4 | 6, not: boolean): Condition {
  return ranges === null ? unknown : { on: 'source', family, ranges, not };
}

function addresses(
  right: unknown,
  list: readonly unknown[] | null,
  values: ElementLookup,
  family: 4 | 6,
): Ranges | null {
  const named = namedBy(right, values);
  if (named !== undefined) return named?.addresses(family) ?? null;
  return list === null ? null : addressesIn(list, family);
}

function addressesIn(list: readonly unknown[], family: 4 | 6): Ranges | null {
  const ranges: (readonly [bigint, bigint])[] = [];
  for (const value of list) {
    const one = addressesOf(value);
    if (one?.family !== family) return null;
    ranges.push(one.range);
  }
  return normalised(ranges);
}

function addressesOf(value: unknown): AddressRange | null {
  if (typeof value === 'string') return addressRange(value);
  const { prefix, range } = fields(value);
  const { addr, len } = fields(prefix);
  if (typeof addr === 'string' && typeof len === 'number') return addressRange(`${addr}/${len}`);
  return Array.isArray(range) && range.every((end) => typeof end === 'string')
    ? addressRange(range.join('-'))
    : null;
}

function portsOf(op: unknown, right: unknown, ranges: Ranges | null): Condition {
  if (ranges !== null) return { on: 'port', ranges, not: op === '!=' };
  const isPort = typeof right === 'number' && Number.isInteger(right) && right >= 0 && right <= 65_535;
  const bound = isPort ? compared(op, BigInt(right)) : null;
  return bound === null ? unknown : { on: 'port', ranges: bound, not: false };
}

function portsNamed(right: unknown, list: readonly unknown[] | null, values: ElementLookup): Ranges | null {
  const named = namedBy(right, values);
  if (named !== undefined) return named?.ports() ?? null;
  return list === null ? null : portsIn(list);
}

function portsIn(list: readonly unknown[]): Ranges | null {
  const ranges: (readonly [bigint, bigint])[] = [];
  for (const one of list) {
    const { range } = fields(one);
    const found = portRange(Array.isArray(range) ? range.join('-') : String(one));
    if (found === null) return null;
    ranges.push(found);
  }
  return normalised(ranges);
}

function compared(op: unknown, end: bigint): Ranges | null {
  if (op === '<') return end === 0n ? [] : [[0n, end - 1n]];
  if (op === '<=') return [[0n, end]];
  if (op === '>') return end === 65_535n ? [] : [[end + 1n, 65_535n]];
  return op === '>=' ? [[end, 65_535n]] : null;
}
