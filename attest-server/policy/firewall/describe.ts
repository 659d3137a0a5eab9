import type { Reference } from '../../formats/reference.ts';
import { shownText } from './nft-json.ts';
import { comparedOf, rulesetOfBaseline } from './read-ruleset.ts';
import { baseText } from './ruleset.ts';

/**
 * The rules of a reference as lines: a chain or set by its name, and below it what it holds, in order.
 * @throws Rejection `malformed` if a person wrote what is no ruleset
 */
export function describeFirewall({ firewall }: Reference): readonly string[] {
  if (firewall === undefined) return [];
  const { chains, objects } = comparedOf(rulesetOfBaseline(firewall));
  return [
    ...[...chains].flatMap(([key, { base, rules }]) => [
      base === null ? key : `${key} (${baseText(base)})`,
      ...rules.map(({ shown }) => `  ${shown()}`),
    ]),
    ...[...objects].flatMap(([key, { head, elements }]) => [
      head === '' ? key : `${key} (${head})`,
      ...elements.map((element) => `  ${shownText(element)}`),
    ]),
  ];
}
