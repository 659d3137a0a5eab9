import type { Family } from '../ruleset.ts';
import { type Form, parseForm } from './form.ts';

/** A program that rewrites rules all the time, and the forms in which it does. */
export interface WrittenOwner {
  readonly name: string;
  /** Where the forms are known from. */
  readonly source: string;
  /** `FAMILY[,FAMILY] TABLE NAME`, the name in a form. */
  readonly chains: readonly string[];
  /** As the tools print them, without `-A CHAIN`. */
  readonly rules: readonly string[];
  /** Like chains: sets and maps. */
  readonly sets?: readonly string[];
}

/** An owner with what no policy can write: rules in chains of others, and chains with a hook. */
export interface ShippedOwner extends WrittenOwner {
  /** True if the chains are not the program's: what is in none of the forms is compared as before. */
  readonly within?: true;
  /** The hooks that a chain of it may have, exactly. */
  readonly hooks?: readonly string[];
  /** Only of agents that send what an owner would not write: the rules lead into chains that are left out on the node. */
  readonly heldOnly?: true;
}

export interface Owner {
  readonly name: string;
  readonly chains: readonly RulePlace[];
  readonly sets: readonly RulePlace[];
  readonly rules: readonly Form[];
  readonly within: boolean;
  readonly hooks: readonly string[];
  readonly heldOnly: boolean;
}

export interface RulePlace {
  readonly families: readonly string[];
  readonly table: string;
  readonly name: Form;
}

/** @returns the owner, or what is wrong with it */
export function parseOwner(written: ShippedOwner): Owner | string {
  const { name, chains, sets = [], rules, within = false, hooks = [], heldOnly = false } = written;
  const faults: string[] = [];
  const good = <T extends object>(parsed: T | string, text: string): readonly T[] => {
    if (typeof parsed !== 'string') return [parsed];
    faults.push(`"${text}": ${parsed}`);
    return [];
  };
  const owner = {
    name,
    chains: chains.flatMap((text) => good(parsePlace(text), text)),
    sets: sets.flatMap((text) => good(parsePlace(text), text)),
    rules: rules.flatMap((text) => good(parseForm(text), text)),
    within,
    hooks,
    heldOnly,
  };
  return faults[0] ?? owner;
}

const families: ReadonlySet<string> = new Set<Family>(['ip', 'ip6', 'inet', 'arp', 'bridge', 'netdev']);

export function parsePlace(text: string): RulePlace | string {
  const [named = '', table = '', ...rest] = text.split(' ');
  const list = named.split(',');
  if (!list.every((family) => families.has(family))) return `${named} is no list of families, such as ip,ip6`;
  if (!/^[\w.-]{1,64}$/.test(table)) return 'the second word is not the name of one table';
  if (rest.length === 0 || rest.join(' ') === '') return 'names no chain or set';
  const name = parseForm(rest.join(' '));
  return typeof name === 'string' ? name : { families: list, table, name };
}
