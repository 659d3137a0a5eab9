import type { Clause } from './clause.ts';

/** Which programs write and show them: nft, iptables over nf_tables, iptables over its own tables. */
export type RuleKind = 'nft' | 'iptables' | 'legacy';
export type Family = 'ip' | 'ip6' | 'inet' | 'arp' | 'bridge' | 'netdev';

/** Where the kernel enters a chain by itself. */
export interface Base {
  readonly type: string;
  readonly hook: string;
  readonly priority: number;
  readonly policy: 'accept' | 'drop';
  /** The devices of the hooks `ingress` and `egress`; sorted. */
  readonly devices: readonly string[];
}

export interface Rule {
  /** The same for one rule, whichever version of a tool printed it; by this it is compared. */
  readonly text: string;
  /** As a person reads it. */
  readonly shown: () => string;
  /** Its effect on a packet. */
  readonly clauses: () => readonly Clause[];
}

export interface Chain {
  readonly kind: RuleKind;
  readonly family: Family;
  readonly table: string;
  readonly name: string;
  /** Null if only jumps enter it, and where its table is dormant. */
  readonly base: Base | null;
  /** Who writes its rules, by the declared list: they are not compared. Null if nobody is declared. */
  readonly owner: string | null;
  /** The rules; of an owned chain, those that were sent. */
  readonly rules: readonly Rule[];
}

/** The content of a table besides chains: sets, maps, flowtables, named counters, limits and quotas without their state. */
export interface NamedObject {
  readonly family: Family;
  readonly table: string;
  readonly type: string;
  readonly name: string;
  readonly head: string;
  /** Canonical texts, without those that time out. */
  readonly elements: readonly string[];
  readonly owner: string | null;
}

/** All rules of one network namespace. */
export interface Ruleset {
  /** By `chainKey`, in this order. */
  readonly chains: ReadonlyMap<string, Chain>;
  /** By `objectKey`. */
  readonly objects: ReadonlyMap<string, NamedObject>;
  /** Addresses to which rules send packets and which are the node's own; null if nobody says which they are. */
  readonly local: ReadonlySet<string> | null;
}

export function chainKey({
  kind,
  family,
  table,
  name,
}: Pick<Chain, 'kind' | 'family' | 'table' | 'name'>): string {
  return `${kind} ${family} ${table} ${name}`;
}

export function objectKey({
  family,
  table,
  type,
  name,
}: Omit<NamedObject, 'head' | 'elements' | 'owner'>): string {
  return `nft ${family} ${table} ${type} ${name}`;
}

/** A chain of the same table. */
export function chainOf(
  { chains }: Pick<Ruleset, 'chains'>,
  { kind, family, table }: Chain,
  name: string,
): Chain | undefined {
  return chains.get(chainKey({ kind, family, table, name }));
}

/** True if such a chain does nothing: iptables makes these as soon as somebody looks. */
export function isIdle({ kind, base, rules, owner }: Chain): boolean {
  return kind !== 'nft' && base?.policy === 'accept' && rules.length === 0 && owner === null;
}

export function baseText({ type, hook, priority, policy, devices }: Base): string {
  const on = devices.length === 0 ? '' : ` device ${devices.join(',')}`;
  return `type ${type} hook ${hook}${on} priority ${priority} policy ${policy}`;
}
