import type { Condition } from './clause.ts';
import { type RulesetDifference, rulesThat } from './compare.ts';
import type { Opening } from './opening.ts';
import { allAddresses, allPorts, intersect, normalised, type Ranges, subtract } from './ranges.ts';
import type { Rule, Ruleset } from './ruleset.ts';
import { chainsAt, type PacketWay, wayFinder } from './walk.ts';

/** A way into the node that the baseline does not open. */
export interface OpenedWay {
  readonly hook: Opening['hook'];
  readonly what: string;
  readonly way: PacketWay;
}

/** The most probes for each hook, family and kind of packets that the differences speak of. */
const mostProbes = 24;
const mostTold = 8;

/**
 * Asks both sides about packets of the rules that differ, and about some that no rule speaks of: what only the node may
 * accept was opened. It may miss what no rule that differs tells of; that is a difference all the same.
 * @param waysNow finds those of the node
 */
export function openedSince(
  { ruleset, spokenOf, interfaces }: EarlierRuleset,
  waysNow: (opening: Opening) => readonly PacketWay[],
  differences: readonly RulesetDifference[],
): readonly OpenedWay[] {
  const opened: OpenedWay[] = [];
  const waysBefore = wayFinder(ruleset);
  const probes = [...usual(spokenOf()), ...ofRules(differences)];
  for (const probe of probes.flatMap((one) => [one, ...byEach(interfaces, one)]))
    for (const hook of ['input', 'forward'] as const) {
      if (opened.length >= mostTold) return opened;
      const opening: Opening = { ...probe, hook };
      // The difference of the rules is still reported.
      const ways = waysNow(opening).filter(({ isFollowed }) => isFollowed);
      if (ways.length === 0) continue;
      const before = new Set(waysBefore(opening).map(({ family }) => family));
      for (const way of ways) {
        const isKnown = opened.some(
          (one) => one.hook === hook && one.way.through.join() === way.through.join(),
        );
        if (!before.has(way.family) && !isKnown) opened.push({ hook, what: probe.text, way });
      }
    }
  return opened;
}

interface EarlierRuleset {
  readonly ruleset: Ruleset;
  readonly spokenOf: () => Ranges;
  /** By which packets come that a host endpoint of its own decides on: any other one may be open. */
  readonly interfaces: readonly string[];
}

const mostInterfaces = 4;

function byEach(interfaces: readonly string[], probe: ProbedOpening): readonly ProbedOpening[] {
  return interfaces
    .slice(0, mostInterfaces)
    .map((input) => ({ ...probe, input, text: `${probe.text}, by ${input}` }));
}

/** Base chains of the baseline that drop, by hook and family, where nothing of the node drops any more. */
export function droppedNoMore(baseline: Ruleset, node: Ruleset): readonly string[] {
  const told: string[] = [];
  for (const [key, { base, family }] of baseline.chains) {
    if (base?.policy !== 'drop') continue;
    const now = node.chains.get(key)?.base;
    if (now?.policy === 'drop' && now.hook === base.hook) continue;
    if (now != null) {
      told.push(`${key}: policy drop in the baseline, hook ${now.hook} policy ${now.policy} now`);
      continue;
    }
    const families = family === 'ip' ? ([4] as const) : family === 'ip6' ? ([6] as const) : ([4, 6] as const);
    const drops = families.every((one) =>
      chainsAt(node, base.hook, one).some((chain) => chain.base?.policy === 'drop'),
    );
    if (!drops)
      told.push(`${key}: policy drop in the baseline, and no chain at the hook ${base.hook} drops now`);
  }
  return told;
}

/** Ports that some condition of the rules names: what they do with all others is the rule behind them. */
export function portsSpokenOf({ chains }: Ruleset): Ranges {
  const named: (readonly [bigint, bigint])[] = [];
  for (const { rules } of chains.values())
    for (const rule of rules)
      for (const { conditions } of rule.clauses())
        for (const condition of conditions)
          if (condition.on === 'port' && !condition.not) named.push(...condition.ranges);
  return normalised(named);
}

type ProbedOpening = Omit<Opening, 'hook'>;

function usual(spokenOf: Ranges): readonly ProbedOpening[] {
  const others = subtract(allPorts, spokenOf);
  const any = (text: string, protocol: string | null, ports: Ranges = allPorts): ProbedOpening => ({
    text,
    protocol,
    ports,
    input: null,
    sources: allAddresses,
  });
  const rest =
    others.length === 0
      ? []
      : [any('tcp to ports of no rule', 'tcp', others), any('udp to ports of no rule', 'udp', others)];
  return [
    any('any new connection', null),
    any('any new connection by tcp', 'tcp'),
    any('any by udp', 'udp'),
    ...rest,
  ];
}

function ofRules(differences: readonly RulesetDifference[]): readonly ProbedOpening[] {
  const probes: ProbedOpening[] = [];
  let looked = 0;
  const look = (rules: readonly Rule[], may: (rule: Rule) => boolean) => {
    for (const rule of rules) {
      if (probes.length >= mostProbes || ++looked > mostLookedAt) return;
      if (!may(rule)) continue;
      for (const { conditions } of rule.clauses()) {
        const probe = probeOf(rule, conditions);
        if (probe !== null && probes.length < mostProbes) probes.push(probe);
      }
    }
  };
  for (const difference of differences) {
    look([...rulesThat('added', difference), ...rulesThat('moved-to', difference)], mayLetIn);
    look([...rulesThat('removed', difference), ...rulesThat('moved-to', difference)], mayKeepOut);
  }
  return probes;
}

/** Attack: thousands of rules that differ, each of a map that is read to see what it does. */
const mostLookedAt = 1024;

function mayLetIn(rule: Rule): boolean {
  return rule.clauses().some(({ outcome }) => outcome.do !== 'drop' && outcome.do !== 'continue');
}

function mayKeepOut(rule: Rule): boolean {
  return rule
    .clauses()
    .some(({ outcome }) => outcome.do === 'drop' || outcome.do === 'jump' || outcome.do === 'goto');
}

/** The packets that a rule speaks of, as far as it can be determined. */
function probeOf(rule: Rule, conditions: readonly Condition[]): ProbedOpening | null {
  let protocol: string | null = null;
  let ports = allPorts;
  let sources: Opening['sources'] = allAddresses;
  for (const condition of conditions) {
    if (condition.on === 'protocol' && !condition.not) protocol = condition.values[0] ?? null;
    else if (condition.on === 'port' && !condition.not) ports = intersect(ports, condition.ranges);
    else if (condition.on === 'source' && !condition.not)
      sources = {
        4: condition.family === 4 ? intersect(sources[4], condition.ranges) : [],
        6: condition.family === 6 ? intersect(sources[6], condition.ranges) : [],
      };
  }
  const isEmpty = ports.length === 0 || (sources[4].length === 0 && sources[6].length === 0);
  const text = `what this rule speaks of: ${rule.shown()}`;
  return isEmpty ? null : { text, protocol, ports, input: null, sources };
}
