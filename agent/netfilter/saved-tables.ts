import { iptablesTables, ownerOfChain, withoutIds } from '../../attest-server/wire/owned-chains.ts';
import { type IsOwnAddress, isStrayLine } from '../../attest-server/wire/stray-rules.ts';
import { NetfilterFault } from './netfilter-fault.ts';
import { chainKey } from './nft-ruleset.ts';
import type { OwnedSum } from './owned-rules.ts';

export interface SavedTables {
  /** As `iptables-save` writes it: tables and chains by name, counts zero, no comments, no owned chains. */
  readonly text: string;
  /** The rules of each chain that is not left out, by `chainKey`. */
  readonly rules: ReadonlyMap<string, readonly string[]>;
  readonly count: number;
  readonly tables: ReadonlySet<string>;
}

interface Chain {
  readonly name: string;
  readonly policy: string;
  readonly rules: string[];
}

/**
 * The tables that a program of iptables saved. Lines that begin with # are the program's own and carry the time.
 * @param isOwn whether an address is the node's
 * @throws NetfilterFault `malformed`
 */
export function parseSavedTables(
  text: string,
  from: 'iptables' | 'legacy',
  family: 'ip' | 'ip6',
  owned: OwnedSum,
  isOwn: IsOwnAddress,
): SavedTables {
  const tables = new Map<string, Map<string, Chain>>();
  let table: { readonly name: string; readonly chains: Map<string, Chain> } | null = null;
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    if (line.startsWith('*')) {
      const name = line.slice(1);
      if (table !== null || !iptablesTables.has(name) || tables.has(name)) throw garbage(family, line);
      table = { name, chains: new Map() };
      tables.set(name, table.chains);
    } else if (table === null) throw garbage(family, line);
    else if (line === 'COMMIT') table = null;
    else if (line.startsWith(':')) {
      const found = /^:(\S+) (ACCEPT|DROP|QUEUE|RETURN|-) \[\d+:\d+\]$/.exec(line);
      if (found?.[1] === undefined || found[2] === undefined || table.chains.has(found[1]))
        throw garbage(family, line);
      table.chains.set(found[1], { name: found[1], policy: found[2], rules: [] });
    } else {
      // Counts come first where a program writes them unasked.
      const found = /^(?:\[\d+:\d+\] )?(-A (\S+)(?: .*)?)$/.exec(line);
      const chain = table.chains.get(found?.[2] ?? '');
      // A comment may hold a line break: what follows would look like a rule.
      if (found?.[1] === undefined || chain === undefined || !closed.test(found[1]))
        throw garbage(family, line);
      chain.rules.push(commentsWithoutIds(found[1]));
    }
  }
  if (table !== null)
    throw new NetfilterFault('malformed', `what was saved of ${family} ends within table ${table.name}`);
  return joined(tables, from, family, owned, isOwn);
}

/** Each quotation mark has its other one. */
const closed = /^(?:[^"\\]|\\.|"(?:[^"\\]|\\.)*")*$/;

function garbage(family: string, line: string): NetfilterFault {
  return new NetfilterFault(
    'malformed',
    `no line of iptables-save (${family}): ${JSON.stringify(line.slice(0, 80))}`,
  );
}

function commentsWithoutIds(rule: string): string {
  return rule.includes('--comment ')
    ? rule.replace(/ --comment (?:"(?:[^"\\]|\\.)*"|\S+)/g, (comment) => withoutIds(comment))
    : rule;
}

function joined(
  tables: ReadonlyMap<string, ReadonlyMap<string, Chain>>,
  from: 'iptables' | 'legacy',
  family: 'ip' | 'ip6',
  owned: OwnedSum,
  isOwn: IsOwnAddress,
): SavedTables {
  const lines: string[] = [];
  const counts = new Map<string, readonly string[]>();
  let count = 0;
  for (const [table, chains] of [...tables].sort(byName)) {
    const kept: Chain[] = [];
    for (const [name, chain] of [...chains].sort(byName)) {
      // A policy is a built-in chain's alone, and that of a hook.
      const owner = chain.policy === '-' ? ownerOfChain(family, table, name) : null;
      if (owner === null) {
        kept.push(chain);
        counts.set(chainKey(family, table, name), chain.rules);
        count += chain.rules.length;
        continue;
      }
      const about = { from, family, table, chain: owner.as, owner: owner.owner };
      owned.add(about, `:${name}`, false);
      const strays: string[] = [];
      for (const rule of chain.rules)
        if (isStrayLine({ owner: owner.owner, family, table }, rule, isOwn)) strays.push(rule);
        else owned.add(about, rule, true);
      if (strays.length === 0) continue;
      kept.push({ ...chain, rules: strays });
      count += strays.length;
    }
    lines.push(`*${table}`);
    for (const { name, policy } of kept) lines.push(`:${name} ${policy} [0:0]`);
    for (const { rules } of kept) for (const rule of rules) lines.push(rule);
    lines.push('COMMIT');
  }
  return {
    text: lines.map((line) => `${line}\n`).join(''),
    rules: counts,
    count,
    tables: new Set(tables.keys()),
  };
}

const byName = ([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number =>
  one < other ? -1 : 1;
