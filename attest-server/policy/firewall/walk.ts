import { declaredChain, isHostChain, ownerOfTable } from '../../wire/owned-chains.ts';
import type { Clause, Condition } from './clause.ts';
import { isUntracking } from './iptables-save.ts';
import { settable } from './marks.ts';
import type { Opening } from './opening.ts';
import { areEqual, intersect, type Ranges, subtract } from './ranges.ts';
import { baseText, type Chain, chainOf, type Ruleset } from './ruleset.ts';

/** How packets that an opening speaks of come in; one line for each base chain that lets them. */
export interface PacketWay {
  readonly family: 4 | 6;
  readonly through: readonly string[];
  /** False if that took more steps than anybody follows: it may be no way. */
  readonly isFollowed: boolean;
}

/**
 * The ways by which some packet of it may be accepted. Nothing is missed: what nobody here can tell may match a rule
 * that accepts, and may not match one that drops. Chains of declared owners are passed through: what policies of Calico
 * accept, which they say by a mark, is theirs.
 */
export function waysIn(ruleset: Ruleset, opening: Opening): readonly PacketWay[] {
  return wayFinder(ruleset)(opening);
}

/** The same for many openings, all of which together take a bounded time. */
export function wayFinder(ruleset: Ruleset): (opening: Opening) => readonly PacketWay[] {
  const untracked = isUntracked(ruleset);
  const marks = settable(ruleset);
  let left = mostStepsInAll;
  return (opening) => {
    const walk = { ruleset, untracked, marks, steps: Math.max(0, mostSteps - left) };
    const before = walk.steps;
    const ways = find(walk, opening);
    left -= walk.steps - before;
    return ways;
  };
}

function find(walk: Walk, opening: Opening): readonly PacketWay[] {
  const { ruleset } = walk;
  return ([4, 6] as const).flatMap((family) => {
    const sources = opening.sources[family];
    if (sources.length === 0) return [];
    const { protocol, ports, input } = opening;
    const packets: Packets = { family, protocol, ports, sources, input };
    const hooked = chainsAt(ruleset, opening.hook, family);
    if (hooked.length === 0)
      return [
        {
          family,
          through: [`no chain stands at the hook ${opening.hook} for ${words[family]}`],
          isFollowed: true,
        },
      ];
    const through: string[] = [];
    for (const chain of hooked) {
      const accepted = acceptedBy(walk, chain, packets);
      // Each chain of a hook is asked: one that drops is enough.
      if (accepted === null) return [];
      through.push(accepted);
    }
    return [{ family, through, isFollowed: walk.steps <= mostSteps }];
  });
}

const words = { 4: 'IPv4', 6: 'IPv6' } as const;

/** In the order in which the kernel asks them. */
export function chainsAt({ chains }: Ruleset, hook: string, family: 4 | 6): readonly Chain[] {
  return [...chains.values()]
    .filter(
      (chain) =>
        chain.base?.hook === hook &&
        chain.base.type !== 'nat' &&
        (chain.family === 'inet' || chain.family === (family === 4 ? 'ip' : 'ip6')),
    )
    .sort((a, b) => (a.base?.priority ?? 0) - (b.base?.priority ?? 0));
}

/** New connections may be of no state at all where a rule takes them out of tracking. */
function isUntracked({ chains }: Ruleset): boolean {
  for (const { rules } of chains.values())
    if (rules.some(({ text }) => text.includes('"notrack"') || isUntracking(text))) return true;
  return false;
}

/** A set of packets, which rules take parts of. */
interface Packets {
  readonly family: 4 | 6;
  readonly protocol: string | null;
  readonly ports: Ranges;
  readonly sources: Ranges;
  /** The interface by which they come; null: any. */
  readonly input: string | null;
}

interface Walk {
  readonly ruleset: Ruleset;
  readonly untracked: boolean;
  /** Bits of a mark that some rule may set. */
  readonly marks: bigint;
  steps: number;
}

/** Rules, and ranges in them, that are looked at for one opening; where it takes more, nobody can tell. */
const mostSteps = 200_000;
const mostStepsInAll = 600_000;
/** As deep as the kernel follows jumps. */
const deepest = 16;

/** The rule that accepts some of them, or may; null if none does. */
function acceptedBy(walk: Walk, chain: Chain, packets: Packets): string | null {
  const { accepted, rest } = follow(walk, chain, packets, 0);
  if (accepted !== null) return accepted;
  if (rest === null || chain.base?.policy === 'drop') return null;
  return `${nameOf(chain)}: ${chain.base === null ? '' : baseText(chain.base)}`;
}

interface ChainOutcome {
  readonly accepted: string | null;
  /** Packets that come back from the chain; null: none. */
  readonly rest: Packets | null;
}

function follow(walk: Walk, chain: Chain, packets: Packets, depth: number): ChainOutcome {
  if (depth > deepest)
    return { accepted: `${nameOf(chain)}: jumps deeper than the kernel follows`, rest: null };
  const isHost = isHostChain(chain.family, chain.table, chain.name);
  let live = packets;
  // Whoever returns is one of those that were here then.
  let returned: Packets | null = null;
  for (const rule of chain.rules) {
    const clauses = rule.clauses();
    // Those of a map are made again each time.
    if (clauses.length > 1) walk.steps += 4 * clauses.length;
    for (const clause of clauses) {
      walk.steps += 1;
      if (walk.steps > mostSteps)
        return { accepted: `${nameOf(chain)}: too many rules to be followed`, rest: null };
      const match = matchOf(walk, clause, live, isHost);
      if (match === null) continue;
      const { outcome } = clause;
      const here = () => `${nameOf(chain)}: ${rule.shown()}`;
      let taken = true;
      switch (outcome.do) {
        case 'accept':
        case 'perhaps':
          return { accepted: here(), rest: null };
        case 'continue':
          taken = false;
          break;
        case 'return':
          returned ??= live;
          break;
        case 'drop':
          break;
        case 'jump':
        case 'goto': {
          // What pods send to their node is decided there, and is not what comes from outside.
          if (isHost && isOfWorkloads(clause, outcome.chain)) {
            taken = false;
            break;
          }
          const target = chainOf(walk.ruleset, chain, outcome.chain);
          const sub =
            target === undefined || target.owner !== null
              ? beyond(chain, outcome.chain, match.within, here)
              : follow(walk, target, match.within, depth + 1);
          if (sub.accepted !== null) return sub;
          if (sub.rest === null) break;
          if (outcome.do === 'goto') returned ??= live;
          else taken = false;
          if (outcome.do === 'jump' && match.left === null) live = sub.rest;
          break;
        }
      }
      if (!taken) continue;
      if (match.left === null) return { accepted: null, rest: returned };
      live = match.left;
    }
  }
  return { accepted: null, rest: returned ?? live };
}

/** Attack: another interface, or all packets, sent there past the host endpoints. */
function isOfWorkloads({ conditions }: Clause, chain: string): boolean {
  if (!/^(?:filter-)?cali-wl-to-host$/.test(chain)) return false;
  return conditions.some(
    (condition) =>
      condition.on === 'input' &&
      !condition.not &&
      condition.names.every((name) => ofWorkloads.has(name.replace(/[+*]$/, ''))),
  );
}

/** Prefixes of pods' interfaces: Calico's own, OpenStack's, and those of three clouds. */
const ofWorkloads: ReadonlySet<string> = new Set(['cali', 'tap', 'eni', 'azv', 'gke']);

/** Into a chain of which no rules are judged: a declared owner's lets packets go on, any other may do all. */
function beyond(
  { kind, family, table }: Chain,
  name: string,
  packets: Packets,
  here: () => string,
): ChainOutcome {
  const owner =
    declaredChain(family, table, name)?.owner ?? (kind === 'nft' ? ownerOfTable(family, table) : null);
  return owner === null ? { accepted: here(), rest: null } : { accepted: null, rest: packets };
}

interface RuleMatch {
  /** Packets that may match. */
  readonly within: Packets;
  /** Packets that may not have matched; null: all matched. */
  readonly left: Packets | null;
}

/** Null if none of them matches. */
function matchOf(walk: Walk, { conditions }: Clause, packets: Packets, isHost: boolean): RuleMatch | null {
  let within = packets;
  let isUnsure = false;
  for (const condition of conditions) {
    if (condition.on === 'port') walk.steps += (condition.ranges.length >> 6) + (within.ports.length >> 4);
    else if (condition.on === 'source')
      walk.steps += (condition.ranges.length >> 6) + (within.sources.length >> 4);
    const one = holds(walk, condition, within, isHost);
    if (one === 'never') return null;
    if (one === 'perhaps') isUnsure = true;
    else if (one !== 'always') within = one;
  }
  if (isUnsure) return { within, left: packets };
  const samePorts = areEqual(within.ports, packets.ports);
  const sameSources = areEqual(within.sources, packets.sources);
  if (samePorts && sameSources) return { within, left: null };
  // What is left of both at once is no set of ports beside a set of addresses.
  if (!samePorts && !sameSources) return { within, left: packets };
  const left = samePorts
    ? { ...packets, sources: subtract(packets.sources, within.sources) }
    : { ...packets, ports: subtract(packets.ports, within.ports) };
  // Whoever drops one address after the other leaves many pieces: it is no error to take too many packets for left.
  const isInPieces = left.sources.length > mostPieces || left.ports.length > mostPieces;
  return { within, left: isInPieces ? packets : left };
}

const mostPieces = 16;

type ConditionMatch = 'always' | 'never' | 'perhaps' | Packets;

function holds(
  { untracked, marks }: Walk,
  condition: Condition,
  packets: Packets,
  isHost: boolean,
): ConditionMatch {
  switch (condition.on) {
    case 'unknown':
      return 'perhaps';
    case 'protocol': {
      if (packets.protocol === null) return 'perhaps';
      return condition.values.includes(packets.protocol) !== condition.not ? 'always' : 'never';
    }
    case 'family':
      return (condition.family === packets.family) !== condition.not ? 'always' : 'never';
    case 'input':
      // They come from outside.
      if (condition.loopback) return condition.not ? 'always' : 'never';
      if (packets.input === null) return 'perhaps';
      return isOneOf(packets.input, condition.names) !== condition.not ? 'always' : 'never';
    case 'mark': {
      // Between Calico's host chains, nobody marks a packet whose policies are not followed.
      if (!isHost || (condition.mask & marks) !== 0n) return 'perhaps';
      return (condition.value === 0n) !== condition.not ? 'always' : 'never';
    }
    case 'state': {
      // Whose addresses are translated may be new, and so may what nobody here has a word for.
      if (!condition.values.includes('new') && !condition.values.every((state) => states.has(state)))
        return 'perhaps';
      const isNew = condition.values.includes('new') !== condition.not;
      const isNone = condition.values.includes('untracked') !== condition.not;
      if (untracked && isNew !== isNone) return 'perhaps';
      return isNew ? 'always' : 'never';
    }
    case 'port': {
      if (packets.protocol === null) return 'perhaps';
      const ports = condition.not
        ? subtract(packets.ports, condition.ranges)
        : intersect(packets.ports, condition.ranges);
      if (ports.length === 0) return 'never';
      return areEqual(ports, packets.ports) ? 'always' : { ...packets, ports };
    }
    case 'source': {
      if (condition.family !== packets.family) return condition.not ? 'always' : 'never';
      const sources = condition.not
        ? subtract(packets.sources, condition.ranges)
        : intersect(packets.sources, condition.ranges);
      if (sources.length === 0) return 'never';
      return areEqual(sources, packets.sources) ? 'always' : { ...packets, sources };
    }
  }
}

/** States of connections; `dnat` and `snat` of iptables are none. */
const states: ReadonlySet<string> = new Set(['new', 'established', 'related', 'invalid', 'untracked']);

function isOneOf(input: string, names: readonly string[]): boolean {
  return names.some((name) => (/[+*]$/.test(name) ? input.startsWith(name.slice(0, -1)) : input === name));
}

function nameOf({ kind, family, table, name }: Chain): string {
  return `${kind} ${family} ${table} ${name}`;
}
