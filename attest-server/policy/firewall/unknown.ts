import { setOf, shownThings, type UnknownThings } from '../unknown.ts';
import type { Baseline } from './baseline.ts';
import { compareRulesets, type RulesetDifference } from './compare.ts';
import { baseText, type Ruleset } from './ruleset.ts';

/**
 * Rules that no baseline in force has.
 * @param node `comparedOf` @param differences from the nearest baseline; null if there is none: then all that there is
 */
export function unknownRules(
  node: Ruleset,
  differences: readonly RulesetDifference[] | null,
  knownBy: string | null,
): UnknownThings {
  const { chains, objects } = node;
  const lines = [
    ...[...chains].map(([key, { base, rules }]) => [
      key,
      base === null ? '' : baseText(base),
      ...rules.map(({ text }) => text),
    ]),
    ...[...objects].map(([key, { head, elements }]) => [key, head, ...elements]),
  ];
  const unlike = differences ?? compareRulesets(emptyRuleset, node);
  return {
    set: setOf(lines.map((line) => JSON.stringify(line))),
    things: shownThings(unlike.map(({ name }) => ({ what: 'rules', name, digest: null, more: 0 }))),
    own: false,
    lacks: null,
    knownBy,
  };
}

const emptyRuleset: Ruleset = { chains: new Map(), objects: new Map(), local: null };

/** Name of a baseline that is not in force and has exactly these rules; null if none has. */
export function knownOutOfForce(node: Ruleset, idle: readonly Baseline[], isHeld: boolean): string | null {
  return idle.find(({ compared }) => compareRulesets(compared(isHeld), node).length === 0)?.name ?? null;
}
