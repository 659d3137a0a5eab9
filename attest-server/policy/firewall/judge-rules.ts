import type { FirewallPart } from '../../wire/firewall.ts';
import type { Finding } from '../finding.ts';
import type { UnknownThings } from '../unknown.ts';
import type { Baseline, RevokedBaseline } from './baseline.ts';
import { compareRulesets, type RulesetDifference } from './compare.ts';
import { dualHooks } from './dual-tables.ts';
import {
  drift,
  dualTables,
  hasOtherPolicy,
  lacksChain,
  missingChains,
  noLongerClosed,
  openAgainst,
  revokedRules,
} from './findings.ts';
import { hostPolicies } from './host-endpoint.ts';
import { droppedNoMore, openedSince } from './opened.ts';
import { withoutOwned } from './owners/without-owned.ts';
import { comparedOf, rulesetOf } from './read-ruleset.ts';
import { chainsNamed, type Requirement } from './requirement.ts';
import type { FirewallRules } from './rules.ts';
import { baseText, type Ruleset } from './ruleset.ts';
import { knownOutOfForce, unknownRules } from './unknown.ts';
import { wayFinder } from './walk.ts';

export interface JudgedRules {
  readonly findings: readonly Finding[];
  /** The reference that has exactly these rules; null: none. */
  readonly like: string | null;
  /** Null if a baseline has these rules, or nobody asks. */
  readonly unknown: UnknownThings | null;
  /** A staged or retired reference that has exactly these rules; null: none, or one in force has. */
  readonly outOfForce: string | null;
}

/** By which references rules are judged. */
export interface Baselines {
  /** Any of which they may be like. */
  readonly active: readonly Baseline[];
  /** None of which they may be like, also where an active one says the same. */
  readonly revoked: readonly RevokedBaseline[];
  /** Staged or retired ones; asked for where no active one has the rules. */
  readonly idle: () => readonly Baseline[];
  /** False if nobody vouched for rules yet, and nobody asks for them: then none wait for it. */
  readonly isAsked: boolean;
}

/**
 * @param digest of the part
 * @throws Rejection `malformed` if the part is no ruleset
 */
export function judgeRules(
  part: FirewallPart,
  digest: string,
  rules: Pick<FirewallRules, 'require' | 'forbid' | 'owners'>,
  { active, revoked, idle, isAsked }: Baselines,
): JudgedRules {
  const all = comparedOf(rulesetOf(part));
  const { local } = all;
  const isHeld = local !== null;
  const node = withoutOwned(all, rules.owners, local === null ? null : (address) => !local.has(address));
  const nearest = nearestOf(active, node, isHeld);
  const isLike = nearest?.differences.length === 0;
  const outOfForce = isLike ? null : knownOutOfForce(node, idle(), isHeld);
  const waysOf = wayFinder(all);
  // What is forbidden is asked first: the time that all openings take together is bounded.
  const forbidden = rules.forbid.flatMap((opening) => {
    const ways = waysOf(opening);
    return ways.length === 0 ? [] : [openAgainst(opening, digest, ways)];
  });
  const findings: Finding[] = revoked
    .filter(({ compared }) => compareRulesets(compared(isHeld), node).length === 0)
    .slice(0, 1)
    .map(({ name, revocation }) => revokedRules(name, revocation, digest));
  if (nearest !== null && nearest.differences.length > 0) {
    const { baseline, differences } = nearest;
    const opened = openedSince(baseline, waysOf, differences);
    const closed = noLongerClosed(baseline.name, digest, droppedNoMore(baseline.ruleset, all), opened);
    const missing = missingChains(baseline.name, digest, differences);
    if (closed !== null) findings.push(closed);
    if (missing !== null) findings.push(missing);
    findings.push(drift(baseline.name, digest, differences, hostLines(baseline, all), outOfForce));
  }
  findings.push(...forbidden);
  for (const required of rules.require) {
    const finding = lackOf(required, all, digest);
    if (finding !== null) findings.push(finding);
  }
  const reference = nearest?.baseline.ruleset ?? null;
  const dual = dualHooks(all, reference);
  if (dual.length > 0) {
    const known = new Set(reference === null ? [] : dualHooks(reference, null).map(({ hook }) => hook));
    findings.push(
      dualTables(
        dual,
        digest,
        dual.every(({ hook }) => known.has(hook)),
      ),
    );
  }
  return {
    findings,
    like: isLike ? (nearest?.baseline.name ?? null) : null,
    unknown: isLike || !isAsked ? null : unknownRules(node, nearest?.differences ?? null, outOfForce),
    outOfForce,
  };
}

/** The present policies of host endpoints and, if they were others, the earlier ones. */
function hostLines({ ruleset }: Baseline, node: Ruleset): readonly string[] {
  const before = hostPolicies(ruleset);
  const now = hostPolicies(node);
  if (before === now) return now === null ? [] : [now];
  return [now ?? 'Calico host policies: none', `in the baseline: ${before ?? 'none'}`];
}

interface NearestBaseline {
  readonly baseline: Baseline;
  readonly differences: readonly RulesetDifference[];
}

function nearestOf(baselines: readonly Baseline[], node: Ruleset, isHeld: boolean): NearestBaseline | null {
  let nearest: (NearestBaseline & { readonly size: number }) | null = null;
  for (const baseline of baselines) {
    const differences = compareRulesets(baseline.compared(isHeld), node);
    const size = differences.reduce(
      (sum, { lines }) => sum + 1 + lines.filter(({ is }) => is !== 'same').length,
      0,
    );
    if (nearest === null || size < nearest.size) nearest = { baseline, differences, size };
    if (size === 0) break;
  }
  return nearest;
}

function lackOf(required: Requirement, node: Ruleset, digest: string): Finding | null {
  const named = chainsNamed(required, node);
  const { hook, policy } = required;
  const [first] = hook === null && policy === null ? named : named.filter(({ base }) => base !== null);
  if (first === undefined) return lacksChain(required, digest);
  const isSo = named.some(
    ({ base }) => (hook === null || base?.hook === hook) && (policy === null || base?.policy === policy),
  );
  if (isSo) return null;
  return hasOtherPolicy(required, digest, first.base === null ? 'no base chain' : baseText(first.base));
}
