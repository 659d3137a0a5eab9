import { outsideText } from '../../wire/printable.ts';
import type { Finding } from '../finding.ts';
import { noActiveReference } from '../no-active-reference.ts';
import { isMissingChain, type RulesetDifference, shownDifferences, sumOf } from './compare.ts';
import type { DualHook } from './dual-tables.ts';
import type { OpenedWay } from './opened.ts';
import type { Opening } from './opening.ts';
import type { Requirement } from './requirement.ts';
import type { PacketWay } from './walk.ts';

const aspect = 'firewall';
/** Lines of a difference; a reason has room for some more. */
const mostLines = 60;

export function noReference(
  group: string,
  wanted: readonly string[] | null,
  outOfForce: string | null,
): Finding {
  const found = noActiveReference('firewall', group, wanted, 'to compare the rules with');
  if (outOfForce === null) return found;
  return {
    ...found,
    text: `${found.text} Reference ${outOfForce} has these rules, but it is not in force.`,
    outOfForce,
  };
}

/** @param cause as the node gave it, or what is wrong with what it sent */
export function unreadable(cause: string, text: string): Finding {
  return {
    code: 'fw_unreadable',
    aspect,
    source: 'host',
    expected: 'the part firewall',
    actual: outsideText(cause),
    text: `${text} So nothing of the firewall is proven.`,
    evidence: null,
  };
}

/** @param outOfForce reference that has exactly the rules of the node, and is not in force */
export function drift(
  reference: string,
  digest: string,
  differences: readonly RulesetDifference[],
  host: readonly string[],
  outOfForce: string | null,
): Finding {
  const [first] = differences;
  const more = differences.length - 1;
  const known =
    outOfForce === null ? '' : ` Reference ${outOfForce} has these rules, but it is not in force.`;
  const where =
    first === undefined ? '' : ` in ${outsideText(first.name)}${more > 0 ? ` and ${more} more` : ''}`;
  return {
    code: 'fw_drift',
    aspect,
    source: 'host',
    expected: `the rules of reference ${reference}`,
    actual: sumOf(differences),
    text: `The rules of the firewall differ from reference ${reference}${where}: ${sumOf(differences)}.${known}`,
    evidence: { digest, position: outsideText(first?.name ?? 'rules') },
    reference,
    ...(outOfForce !== null && { outOfForce }),
    detail: [...host.map(outsideText), ...shownDifferences(differences, mostLines).map(outsideText)],
  };
}

/** @param revocation who revoked it, when and why */
export function revokedRules(reference: string, revocation: string, digest: string): Finding {
  return {
    code: 'revoked_reference',
    aspect,
    source: 'host',
    expected: 'rules that nobody revoked',
    actual: reference,
    text: `The rules of the firewall are those of reference ${reference}; ${revocation}.`,
    evidence: { digest, position: 'rules' },
    reference,
  };
}

export function missingChains(
  reference: string,
  digest: string,
  differences: readonly RulesetDifference[],
): Finding | null {
  const missing = differences.filter(isMissingChain);
  const [first] = missing;
  if (first === undefined) return null;
  return {
    code: 'fw_missing_chain',
    aspect,
    source: 'host',
    expected: outsideText(first.name),
    actual: null,
    text: `${missing.length === 1 ? `Chain ${outsideText(first.name)} is` : `${missing.length} chains are`} in reference ${reference} and not on the node.`,
    evidence: { digest, position: outsideText(first.name) },
    reference,
    detail: missing.map(({ name, before }) => outsideText(`- ${name} ${before?.head ?? ''}`.trimEnd())),
  };
}

export function noLongerClosed(
  reference: string,
  digest: string,
  dropped: readonly string[],
  opened: readonly OpenedWay[],
): Finding | null {
  const lines = [
    ...dropped,
    ...opened.flatMap(({ hook, what, way }) => [`${hook} ${versionOf(way)}, ${what}`, ...throughOf(way)]),
  ];
  const [first] = lines;
  if (first === undefined) return null;
  return {
    code: 'fw_policy_open',
    aspect,
    source: 'host',
    expected: `closed, as in reference ${reference}`,
    actual: outsideText(dropped.length > 0 ? first : (opened[0]?.way.through.join('; ') ?? first)),
    text: `The node lets in what reference ${reference} keeps out.`,
    evidence: { digest, position: 'rules' },
    reference,
    detail: lines.map(outsideText),
  };
}

export function openAgainst(opening: Opening, digest: string, ways: readonly PacketWay[]): Finding {
  return {
    code: 'fw_policy_open',
    aspect,
    source: 'host',
    expected: `not open: ${opening.text}`,
    actual: outsideText(ways.map((way) => `${versionOf(way)} by ${way.through.join('; ')}`).join(', ')),
    text: `The policy forbids "${opening.text}", and the rules may let it in.`,
    evidence: { digest, position: opening.hook },
    detail: ways.flatMap((way) => [`${opening.hook} ${versionOf(way)}`, ...throughOf(way)]).map(outsideText),
  };
}

export function lacksChain({ text }: Requirement, digest: string): Finding {
  return {
    code: 'fw_missing_chain',
    aspect,
    source: 'host',
    expected: text,
    actual: null,
    text: `The policy requires "${text}", and no such chain is in force on the node.`,
    evidence: { digest, position: text },
  };
}

export function hasOtherPolicy({ text }: Requirement, digest: string, actual: string): Finding {
  return {
    code: 'fw_policy_open',
    aspect,
    source: 'host',
    expected: text,
    actual,
    text: `The policy requires "${text}", and the chain is: ${actual}.`,
    evidence: { digest, position: text },
  };
}

/** @param isKnown the reference has it so: who vouched for that saw it */
export function dualTables(hooks: readonly DualHook[], digest: string, isKnown: boolean): Finding {
  return {
    code: 'dual_tables',
    aspect,
    source: 'host',
    expected: 'rules of one kind at each hook',
    actual: hooks.map(({ hook }) => hook).join(', '),
    text: 'Rules are in nf_tables and in iptables-legacy for the same hook.',
    evidence: { digest, position: hooks[0]?.hook ?? 'rules' },
    detail: hooks.map(({ hook, chains }) => outsideText(`${hook}: ${chains.join(', ')}`)),
    ...(isKnown && { severity: 'warn' }),
  };
}

function versionOf({ family }: PacketWay): string {
  return family === 4 ? 'IPv4' : 'IPv6';
}

function throughOf({ through }: PacketWay): readonly string[] {
  return through.map((line) => `  ${line}`);
}
