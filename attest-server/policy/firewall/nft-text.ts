import { fields, type JsonObject } from './json-object.ts';
import { addressRange } from './ranges.ts';

/** Statements of a rule as `nft list ruleset` (1.1) writes them; what has no words here stays JSON. */
export function shownStatements(statements: readonly JsonObject[]): string {
  return statements.map(statementText).join(' ');
}

export function shownElement(value: unknown): string {
  if (Array.isArray(value) && value.length === 2) return `${valueText(value[0])} : ${valueText(value[1])}`;
  return valueText(value);
}

function statementText(statement: JsonObject): string {
  const [key = ''] = Object.keys(statement);
  const value = statement[key];
  const own = fields(value);
  switch (key) {
    case 'match':
      return matchText(own);
    case 'vmap':
      return `${valueText(own.key)} vmap ${valueText(own.data)}`;
    case 'comment':
      return `comment ${JSON.stringify(value)}`;
    case 'counter':
      return `counter name ${JSON.stringify(value)}`;
    case 'reject':
      if (value === null) return 'reject';
      return words('reject with', given(own.type, rejectType), given(own.expr));
    case 'mangle':
      return `${valueText(own.key)} set ${rightText(own.key, own.value)}`;
    case 'log':
      return logText(own);
    case 'limit':
      return limitText(own);
    case 'quota':
      return words('quota', own.inv === true && 'over', given(own.val), given(own.val_unit));
    case 'ct count':
      return words('ct count', own.inv === true && 'over', given(own.val));
    case 'dnat':
    case 'snat':
    case 'redirect':
    case 'masquerade':
    case 'tproxy':
      return translationText(key, own);
    case 'fwd':
    case 'dup':
      return forwardText(key, own);
    case 'queue':
      return words(
        'queue',
        own.flags !== undefined && `flags ${[own.flags].flat().map(wordOf).join(',')}`,
        own.num !== undefined && `to ${valueText(own.num)}`,
      );
    case 'flow':
      return words('flow', given(own.op), given(own.flowtable));
    case 'set':
      return words(given(own.op), given(own.set), `{ ${valueText(own.elem)} }`);
    case 'xt':
      return words('xt', given(own.type), given(own.name));
    default:
      return valueText(statement);
  }
}

function matchText({ op, left, right }: JsonObject): string {
  // nft leaves `==` out, but for behind an operation on bits.
  const isPlain = (op === '==' || op === 'in') && operatorOf(left) === null;
  return words(valueText(left), !isPlain && given(op, comparison), rightText(left, right));
}

/** The right side of a match, or the new value, as its field is written. */
function rightText(left: unknown, right: unknown): string {
  const field = fieldOf(left);
  const key = String(fields(field.meta).key ?? '');
  const ct = fields(field.ct).key;
  if (/^[io]if(?:name)?$/.test(key)) return valueText(right, quotedText);
  if (key === 'hour') return valueText(right, quotedText);
  if (key === 'mark' || ct === 'mark') return valueText(right, (one) => hexText(one, 8));
  if (ct === 'state' && Array.isArray(right)) return inOrder(right, states).map(wordOf).join(',');
  if (fields(field.fib).result === 'oif' && typeof right === 'boolean') return right ? 'exists' : 'missing';
  if (field.payload !== undefined && fields(field.payload).protocol === undefined)
    return valueText(right, (one) => hexText(one, 0));
  return valueText(right);
}

/** Of `meta mark & 0xff`: `meta mark`. */
function fieldOf(left: unknown): JsonObject {
  const operator = operatorOf(left);
  const sides = operator === null ? null : fields(left)[operator];
  return Array.isArray(sides) ? fieldOf(sides[0]) : fields(left);
}

const operators = ['&', '|', '^', '<<', '>>'] as const;

function operatorOf(value: unknown): (typeof operators)[number] | null {
  const [key, ...others] = Object.keys(fields(value));
  return others.length > 0 ? null : (operators.find((one) => one === key) ?? null);
}

/** In the order of their bits. */
const states = ['invalid', 'established', 'related', 'new', 'untracked'];
const flags = ['random', 'fully-random', 'persistent'];

function inOrder(values: readonly unknown[], order: readonly string[]): readonly unknown[] {
  const rank = (value: unknown) => order.indexOf(String(value)) >>> 0;
  return values.toSorted((a, b) => rank(a) - rank(b));
}

function logText({ prefix, group, snaplen, level, flags, ...others }: JsonObject): string {
  const queued = others['queue-threshold'];
  return words(
    'log',
    prefix !== undefined && `prefix ${JSON.stringify(prefix)}`,
    group !== undefined && `group ${wordOf(group)}`,
    snaplen !== undefined && `snaplen ${wordOf(snaplen)}`,
    queued !== undefined && `queue-threshold ${wordOf(queued)}`,
    level !== undefined && `level ${wordOf(level)}`,
    flags !== undefined && `flags ${[flags].flat().map(wordOf).join(',')}`,
  );
}

/** A burst of 5 packets is what nft takes where nobody gives one. */
function limitText({ rate, rate_unit: unit, per, inv, burst, burst_unit: burstUnit }: JsonObject): string {
  const isPackets = unit === undefined;
  const most = burst ?? (isPackets ? 5 : undefined);
  return words(
    'limit rate',
    inv === true && 'over',
    isPackets ? `${wordOf(rate)}/${wordOf(per)}` : `${wordOf(rate)} ${wordOf(unit)}/${wordOf(per)}`,
    most !== undefined && `burst ${wordOf(most)} ${wordOf(burstUnit ?? 'packets')}`,
  );
}

function translationText(
  key: string,
  { addr, port, family, flags: chosenFlags, ...others }: JsonObject,
): string {
  const { type_flags: kind, ...unknown } = others;
  if (Object.keys(unknown).length > 0 || (kind !== undefined && kind !== 'concat'))
    return `${key} ${JSON.stringify({ addr, port, family, flags: chosenFlags, ...others })}`;
  const chosen = chosenFlags === undefined ? [] : [chosenFlags].flat();
  const host = addr === undefined ? '' : valueText(addr);
  const isBracketed = typeof addr === 'string' && addr.includes(':') && port !== undefined;
  const at = `${isBracketed ? `[${host}]` : host}${port === undefined ? '' : `:${valueText(port)}`}`;
  return words(
    key,
    given(family),
    kind === 'concat' && 'addr . port',
    at !== '' && `to ${at}`,
    chosen.length > 0 && inOrder(chosen, flags).map(wordOf).join(','),
  );
}

function forwardText(key: string, { addr, dev, ...others }: JsonObject): string {
  if (Object.keys(others).length > 0) return `${key} ${JSON.stringify({ addr, dev, ...others })}`;
  if (addr === undefined) return `${key} to ${quotedText(dev)}`;
  // To a device alone, nft calls it an address.
  if (dev === undefined && addressRange(String(addr)) === null) return `${key} to ${quotedText(addr)}`;
  return words(`${key} to`, valueText(addr), dev !== undefined && `device ${quotedText(dev)}`);
}

function valueText(value: unknown, leaf: (value: unknown) => string = wordOf): string {
  if (Array.isArray(value)) return value.map((one) => valueText(one, leaf)).join(',');
  const own = fields(value);
  const [key = '', ...more] = Object.keys(own);
  if (key === '' || more.length > 0) return leaf(value);
  const inner: unknown = own[key];
  const { target, ...field } = fields(inner);
  switch (key) {
    case 'meta':
      return words(!unqualified.has(field.key) && 'meta', given(field.key));
    case 'ct':
      return words('ct', given(field.dir), given(field.key, conntrackKey));
    case 'rt':
      return words('rt', given(field.key));
    case 'socket':
      return words('socket', given(field.key));
    case 'payload':
      if (field.protocol === undefined)
        return `@${wordOf(field.base)},${wordOf(field.offset)},${wordOf(field.len)}`;
      return words(
        field.tunnel !== field.protocol && given(field.tunnel),
        given(field.protocol),
        given(field.field),
      );
    case 'exthdr':
      return words(given(field.name), given(field.field));
    case 'tcp option':
      return words('tcp option', given(field.name), given(field.field));
    case 'fib':
      return `fib ${[field.flags].flat().map(wordOf).join(' . ')} ${wordOf(field.result)}`;
    case 'numgen':
      return words(
        'numgen',
        given(field.mode),
        `mod ${wordOf(field.mod)}`,
        field.offset !== 0 && `offset ${wordOf(field.offset)}`,
      );
    case 'map':
      return `${valueText(field.key)} map ${valueText(field.data)}`;
    case '&':
    case '|':
    case '^':
    case '<<':
    case '>>':
      return Array.isArray(inner) ? operationText(key, inner, leaf) : leaf(value);
    case 'prefix':
      return `${valueText(field.addr, leaf)}/${wordOf(field.len)}`;
    case 'range':
      return Array.isArray(inner) ? inner.map((one) => valueText(one, leaf)).join('-') : leaf(value);
    case 'concat':
      return Array.isArray(inner) ? inner.map((one) => valueText(one, leaf)).join(' . ') : leaf(value);
    case 'set':
      return Array.isArray(inner) ? setText(inner, leaf) : leaf(value);
    case 'jump':
    case 'goto':
      return typeof target === 'string' ? `${key} ${wordOf(target)}` : leaf(value);
    default:
      return inner === null ? wordOf(key) : leaf(value);
  }
}

function operationText(
  operator: string,
  sides: readonly unknown[],
  leaf: (value: unknown) => string,
): string {
  const isOfMark = ['meta', 'ct'].some((one) => fields(fieldOf(sides[0])[one]).key === 'mark');
  const hex = (value: unknown) => (isOfMark ? hexText(value, 8) : leaf(value));
  const side = (one: unknown, at: number) =>
    at > 0 && operatorOf(one) !== null ? `(${valueText(one, hex)})` : valueText(one, hex);
  return sides.map(side).join(` ${operator} `);
}

/** Numbers and addresses in their order, as the kernel has them. */
function setText(elements: readonly unknown[], leaf: (value: unknown) => string): string {
  const texts = elements.map((element) => ({
    text: Array.isArray(element) ? shownElement(element) : valueText(element, leaf),
    first: firstOf(element),
  }));
  if (texts.every(({ first }) => first !== null))
    texts.sort((a, b) => Number((a.first ?? 0n) - (b.first ?? 0n)));
  return `{ ${texts.map(({ text }) => text).join(', ')} }`;
}

/** The least number or address of an element; null if it has none. */
function firstOf(element: unknown): bigint | null {
  const value = Array.isArray(element) ? element[0] : element;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  if (typeof value === 'string') return addressRange(value)?.range[0] ?? null;
  const { prefix, range } = fields(value);
  const { addr } = fields(prefix);
  return typeof addr === 'string' ? firstOf(addr) : Array.isArray(range) ? firstOf(range[0]) : null;
}

/** A word of nft; any other is put in quotation marks: it must not read as more words than one. */
function wordOf(value: unknown): string {
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' && plainWord.test(value) ? value : (JSON.stringify(value) ?? '');
}

const plainWord = /^[\w.:/@*+-]+$/;

/** nft puts names of devices and moments in quotation marks; numbers stand for themselves. */
function quotedText(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : wordOf(value);
}

function hexText(value: unknown, digits: number): string {
  const isNumber = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
  return isNumber ? `0x${value.toString(16).padStart(digits, '0')}` : wordOf(value);
}

/** The texts that are there, with a blank between them. */
function words(...texts: readonly (string | false)[]): string {
  return texts.filter((text) => text !== false && text !== '').join(' ');
}

/** @param plain what stands without quotation marks besides */
function given(value: unknown, plain: RegExp = plainWord): string | false {
  if (value === undefined) return false;
  return typeof value === 'string' && plain.test(value) ? value : wordOf(value);
}

/** `original ip daddr` has two words; others one. */
const conntrackKey = /^(?:ip6? [sd]addr|[\w-]+)$/;
const comparison = /^[<>=!]{1,2}$/;
const rejectType = /^tcp reset$/;

const unqualified: ReadonlySet<unknown> = new Set([
  'iif',
  'oif',
  'iifname',
  'oifname',
  'iifgroup',
  'oifgroup',
]);
