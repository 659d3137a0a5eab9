import type { Random } from '../random.ts';
import { changeBytes } from './bytes.ts';
import { changeText, odd } from './text.ts';
import type { Words } from './words.ts';

type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
type Holder = Json[] | { [name: string]: Json };

/** One change to a value of a JSON text; what is no JSON is changed as text. */
export function changeJson(bytes: Buffer, donor: Buffer, words: Words, random: Random): Buffer {
  const root = parsed(bytes);
  if (root === undefined) return changeText(bytes, donor, words, random);
  const whole: [Json] = [root];
  const places = placesIn(whole);
  const [holder, name] = random.pick(places) ?? [whole, '0'];
  const own = get(holder, name);
  const others = parsed(donor);
  const place = random.pick(others === undefined ? places : placesIn([others]));
  const other = structuredClone(place === undefined ? null : get(...place));
  switch (random.below(10)) {
    case 0:
      remove(holder, name);
      break;
    case 1:
      put(holder, name, structuredClone(random.pick(values)));
      break;
    case 2:
      put(holder, name, other);
      break;
    case 3:
      add(holder, random.pick(words) ?? 'x', other);
      break;
    case 4:
      if (Array.isArray(holder))
        for (let times = random.length(300); times > 0; times--) holder.push(structuredClone(own));
      else put(holder, name, [own, structuredClone(own)]);
      break;
    case 5: {
      remove(holder, name);
      add(holder, random.pick(['__proto__', 'constructor', random.pick(words) ?? 'y']), own);
      break;
    }
    case 6:
      put(holder, name, nested(own, random.length(2000)));
      break;
    default:
      put(holder, name, changedValue(own, words, random));
  }
  return Buffer.from(JSON.stringify(whole[0]) ?? '');
}

const values: readonly [Json, ...Json[]] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e308,
  2 ** 53,
  4_294_967_296,
  '',
  'x'.repeat(5000),
  [],
  {},
  [null],
  [[]],
  { '': '' },
];

function parsed(bytes: Buffer): Json | undefined {
  try {
    const value: Json = JSON.parse(bytes.toString('utf8'));
    return value;
  } catch {
    return undefined;
  }
}

const mostPlaces = 20_000;

/** Each value, by what holds it; a chain of holders that is long is not walked recursively. */
function placesIn(root: Holder): (readonly [Holder, string])[] {
  const places: (readonly [Holder, string])[] = [];
  const queue: Holder[] = [root];
  for (let holder = queue.pop(); holder !== undefined; holder = queue.pop())
    for (const [name, value] of Object.entries(holder)) {
      if (places.length >= mostPlaces) return places;
      places.push([holder, name]);
      if (typeof value === 'object' && value !== null) queue.push(value);
    }
  return places;
}

function get(holder: Holder, name: string): Json {
  return (Array.isArray(holder) ? holder[Number(name)] : holder[name]) ?? null;
}

function put(holder: Holder, name: string, value: Json): void {
  if (Array.isArray(holder)) holder[Number(name)] = value;
  else define(holder, name, value);
}

function add(holder: Holder, name: string, value: Json): void {
  if (Array.isArray(holder)) holder.push(value);
  else define(holder, name, value);
}

/** Also `__proto__`, which an assignment would not write. */
function define(holder: object, name: string, value: Json): void {
  Object.defineProperty(holder, name, { value, enumerable: true, configurable: true, writable: true });
}

function remove(holder: Holder, name: string): void {
  if (Array.isArray(holder)) holder.splice(Number(name), 1);
  else delete holder[name];
}

function nested(value: Json, depth: number): Json {
  let result = value;
  for (let i = 0; i < depth; i++) result = i % 2 === 0 ? [result] : { a: result };
  return result;
}

/** Within a text also what it encodes, base64 or hex, and a document within a document. */
function changedValue(value: Json, words: Words, random: Random): Json {
  if (typeof value === 'number')
    return random.pick([value + 1, value - 1, -value, value * 2, value + 0.5, value * 2 ** 32]);
  if (typeof value !== 'string') return random.pick(values);
  const encoding = /^(?:[0-9a-f]{2}){4,}$/.test(value)
    ? 'hex'
    : /^[A-Za-z0-9+/]{16,}={0,2}$/.test(value)
      ? 'base64'
      : null;
  if (encoding !== null && !random.once(4)) {
    const content = Buffer.from(value, encoding);
    return changeBytes(content, content, random).toString(encoding);
  }
  if (value.startsWith('{') && !random.once(4))
    return changeJson(Buffer.from(value), Buffer.from(value), words, random).toString('utf8');
  if (random.once(3)) return random.pick(odd);
  if (random.once(3)) return random.pick(words) ?? value;
  const text = Buffer.from(value);
  return changeText(text, text, words, random).toString('utf8');
}
