import {
  type AddressRange,
  addressRange,
  allAddresses,
  allPorts,
  normalised,
  portRange,
  type Ranges,
  subtract,
} from './ranges.ts';

/** New connections from outside that nobody may accept. */
export interface Opening {
  readonly text: string;
  readonly hook: 'input' | 'forward';
  /** Null: any. */
  readonly protocol: string | null;
  readonly ports: Ranges;
  /** The interface by which they come; null: any. */
  readonly input: string | null;
  /** By family, from where; empty: not by this family. */
  readonly sources: { readonly 4: Ranges; readonly 6: Ranges };
}

/** In the words of a policy; for schemas and documents. */
export const openingForm =
  'input|forward any|tcp|udp|sctp|dccp|icmp|icmpv6 [PORT[-PORT][,…]] from anywhere|ADDRESS[/LENGTH][,…] [but ADDRESS[/LENGTH][,…]]';

/** @returns the opening, or what is wrong with the text */
export function parseOpening(text: string): Opening | string {
  const words = text.trim().split(/\s+/);
  const hook = words.shift() ?? '';
  if (hook !== 'input' && hook !== 'forward')
    return `begins with ${hook || 'nothing'}, not with input or forward`;
  const protocol = words.shift() ?? '';
  if (protocol !== 'any' && !protocols.has(protocol))
    return `${protocol || 'nothing'} is no protocol that is known here`;
  let ports = allPorts;
  if (words[0] !== 'from') {
    const given = words.shift() ?? '';
    if (!withPorts.has(protocol))
      return `${protocol} has no ports, and ${given || 'nothing'} is not the word from`;
    const found = given.split(',').map(portRange);
    if (found.includes(null)) return `${given} is no list of ports, such as 22,8000-9000`;
    ports = normalised(found.filter((one) => one !== null));
  }
  if (words.shift() !== 'from') return 'does not say from where';
  const from = sourcesOf(words.shift() ?? '', true);
  if (typeof from === 'string') return from;
  let sources = from;
  if (words.length > 0) {
    if (words.shift() !== 'but') return 'only the word but may follow the addresses';
    const but = sourcesOf(words.shift() ?? '', false);
    if (typeof but === 'string') return but;
    sources = { 4: subtract(from[4], but[4]), 6: subtract(from[6], but[6]) };
  }
  if (words.length > 0) return `${words[0]} is one word too many`;
  if (sources[4].length === 0 && sources[6].length === 0)
    return 'leaves no address from which it would be forbidden';
  return {
    text: text.trim().replaceAll(/\s+/g, ' '),
    hook,
    protocol: protocol === 'any' ? null : protocol,
    ports,
    input: null,
    sources,
  };
}

const withPorts: ReadonlySet<string> = new Set(['tcp', 'udp', 'sctp', 'dccp', 'udplite']);
const protocols: ReadonlySet<string> = new Set([...withPorts, 'icmp', 'icmpv6']);

function sourcesOf(text: string, mayBeAnywhere: boolean): Opening['sources'] | string {
  if (text === 'anywhere' && mayBeAnywhere) return allAddresses;
  const found = text.split(',').map(addressRange);
  if (found.includes(null))
    return `${text || 'nothing'} is no list of addresses, such as 10.0.0.0/8,fd00::/8`;
  const of = (family: 4 | 6) =>
    normalised(found.filter((one): one is AddressRange => one?.family === family).map(({ range }) => range));
  return { 4: of(4), 6: of(6) };
}
