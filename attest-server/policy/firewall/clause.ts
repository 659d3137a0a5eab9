import type { Ranges } from './ranges.ts';

/** One condition on a packet that opens a new connection and comes from outside. */
export type Condition =
  | { readonly on: 'protocol'; readonly values: readonly string[]; readonly not: boolean }
  | { readonly on: 'port'; readonly ranges: Ranges; readonly not: boolean }
  | {
      readonly on: 'source';
      readonly family: 4 | 6;
      readonly ranges: Ranges;
      readonly not: boolean;
    }
  | { readonly on: 'family'; readonly family: 4 | 6; readonly not: boolean }
  | { readonly on: 'state'; readonly values: readonly string[]; readonly not: boolean }
  /** The interface by which it comes: `loopback` where it can be no other one; names, which may end with + or *. */
  | {
      readonly on: 'input';
      readonly loopback: boolean;
      readonly names: readonly string[];
      readonly not: boolean;
    }
  /** The packet's mark, of which the bits of the mask count. */
  | { readonly on: 'mark'; readonly value: bigint; readonly mask: bigint; readonly not: boolean }
  /** A condition that nobody here can tell: it may match, and it may not. */
  | { readonly on: 'unknown' };

export type Outcome =
  /** `perhaps`: a target that nobody here knows, which may accept. */
  | { readonly do: 'accept' | 'drop' | 'return' | 'continue' | 'perhaps' }
  | { readonly do: 'jump' | 'goto'; readonly chain: string };

/** A rule, or one element of its verdict map: where all conditions hold, the outcome follows. */
export interface Clause {
  readonly conditions: readonly Condition[];
  readonly outcome: Outcome;
}

export const unknown: Condition = { on: 'unknown' };

/** Attack: thousands of conditions of one rule, asked for each opening. Nobody is to tell then. */
export function followable(conditions: readonly Condition[]): readonly Condition[] {
  return conditions.length > mostConditions ? [unknown] : conditions;
}

const mostConditions = 64;

/** By number, and by older names, as some versions print them. */
const names = new Map([
  ['1', 'icmp'],
  ['6', 'tcp'],
  ['17', 'udp'],
  ['33', 'dccp'],
  ['58', 'icmpv6'],
  ['132', 'sctp'],
  ['136', 'udplite'],
  ['ipv6-icmp', 'icmpv6'],
  ['icmp6', 'icmpv6'],
]);

/** The one name of a protocol, by which conditions are compared. */
export function protocolName(protocol: string): string {
  return names.get(protocol) ?? protocol;
}
