import { isHostChain } from '../../wire/owned-chains.ts';
import type { Clause } from './clause.ts';
import { isUntracking } from './iptables-save.ts';
import { clearedBy } from './marks.ts';
import type { Chain, Rule, Ruleset } from './ruleset.ts';

/** Chains for the packets that come from, or go to, one host endpoint of Calico. */
const ofEndpoint = /^(?:filter-)?cali-[ft]h-/;
/** Chains of policies and profiles, and of groups of them. */
const policies = /^(?:filter-)?cali-(?:pi|po|pri|pro|gi|go)-/;

/**
 * The chain of a host endpoint without what its policies make of it: jumps into their chains, what a packet does that
 * they marked, and the drop at the end of their tiers. What is left is the same whatever policies there are: connections
 * that are known, failsafe ports, and the drop behind all. Any other chain as it is.
 */
export function withoutPolicies(chain: Chain): Chain {
  const { family, table, name } = chain;
  if (!ofEndpoint.test(name) || !isHostChain(family, table, name)) return chain;
  let cleared = 0n;
  const rules = chain.rules.filter((rule) => {
    const bits = clearedBy(rule);
    if (bits !== null) cleared |= bits;
    return bits === null && !isOfPolicies(rule, cleared);
  });
  return { ...chain, rules };
}

function isOfPolicies(rule: Rule, cleared: bigint): boolean {
  const [clause, ...others] = rule.clauses();
  if (clause === undefined || others.length > 0) return false;
  const { outcome } = clause;
  const marks = marksOf(clause);
  if (marks === null) return false;
  if (outcome.do === 'jump') return policies.test(outcome.chain);
  if (outcome.do === 'drop') return marks.length > 0;
  // Attack: a rule that lets every packet return before the drop, or all that somebody else has marked.
  if (outcome.do === 'return')
    return marks.some(
      ({ value, mask, not }) =>
        value !== 0n && value === mask && !not && (mask & ~cleared) === 0n && !isUntracking(rule.text),
    );
  return outcome.do === 'continue' && isLog(rule.text);
}

type PacketMark = Extract<Clause['conditions'][number], { readonly on: 'mark' }>;

/** Null if it asks about anything else. */
function marksOf({ conditions }: Clause): readonly PacketMark[] | null {
  const marks = conditions.filter((condition) => condition.on === 'mark');
  return marks.length === conditions.length ? marks : null;
}

/** Flow logs: a rule that tells of a packet, and does nothing else. */
function isLog(text: string): boolean {
  return / -j NFLOG (?:[^"]|"(?:[^"\\]|\\.)*")*$/.test(text) || /\{"log":\{[^{}]*\}\}\]$/.test(text);
}

/** Interfaces of host endpoints that have a name of their own: where packets come in by them, it is decided there. */
export function endpointInterfaces({ chains }: Ruleset): readonly string[] {
  const names = new Set<string>();
  for (const { family, table, name, rules } of chains.values()) {
    if (!dispatch.test(name) || !isHostChain(family, table, name)) continue;
    for (const rule of rules)
      for (const { conditions, outcome } of rule.clauses())
        if (outcome.do === 'goto' && ofEndpoint.test(outcome.chain))
          for (const condition of conditions)
            if (condition.on === 'input' && !condition.not) for (const one of condition.names) names.add(one);
  }
  return [...names].filter((name) => !/[+*]$/.test(name));
}

const dispatch = /^(?:filter-)?cali-from-host-endpoint/;

/**
 * The policies of Calico's host endpoints on a node, in a line for people; null if there are none. It says what the rules are:
 * which packets they let in is for whoever walks through them.
 */
export function hostPolicies({ chains }: Ruleset): string | null {
  const denying = new Set<string>();
  const open = new Set<string>();
  const failsafe = new Set<string>();
  for (const { family, table, name, rules } of chains.values()) {
    if (!isHostChain(family, table, name)) continue;
    if (ofEndpoint.test(name)) {
      const short = name.replace(/^filter-/, '');
      (endsWithDrop(rules) ? denying : open).add(`${family} ${short}`);
    } else if (/^(?:filter-)?cali-failsafe-in$/.test(name))
      for (const rule of rules) for (const port of portsOf(rule)) failsafe.add(port);
  }
  if (denying.size + open.size === 0) return null;
  const state =
    open.size === 0
      ? 'present'
      : denying.size === 0
        ? 'absent'
        : `absent in ${[...open].sort().slice(0, mostNamed).join(', ')}`;
  const ports = [...failsafe].slice(0, mostNamed).join(', ');
  return `Calico host policies: default deny ${state}, ${failsafe.size === 0 ? 'no failsafe ports' : `failsafe ports ${ports}`}`;
}

const mostNamed = 16;

function endsWithDrop(rules: readonly Rule[]): boolean {
  const [clause, ...others] = rules.at(-1)?.clauses() ?? [];
  return clause?.outcome.do === 'drop' && clause.conditions.length === 0 && others.length === 0;
}

/** `tcp 22`, of a rule that accepts */
function portsOf(rule: Rule): readonly string[] {
  return rule.clauses().flatMap(({ conditions, outcome }) => {
    if (outcome.do !== 'accept') return [];
    const protocol = conditions.find((one) => one.on === 'protocol')?.values[0] ?? 'any';
    const port = conditions.find((one) => one.on === 'port');
    const ports = port?.ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)) ?? ['all'];
    const source = conditions.some((one) => one.on === 'source') ? ' from some' : '';
    return [`${protocol} ${ports.join(',')}${source}`];
  });
}
