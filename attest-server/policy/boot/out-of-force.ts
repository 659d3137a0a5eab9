import type { PcrValues } from '../../protocol/pcr-values.ts';
import { classOf } from '../../protocol/reasons.ts';
import type { Reference } from '../../protocol/reference.ts';
import type { Finding } from '../finding.ts';
import { isComparedBy, type PreparedReference, prepareReference } from './reference-set.ts';
import { bootsLike } from './revoked.ts';
import type { BootRules } from './rules.ts';
import { knowsUnknown, type UnknownBoot } from './unknown.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** References of a group that nobody has put in force, or that were taken out of it; made ready when first needed. */
export function idleReferences(
  group: string,
  rules: Pick<BootRules, 'references'>,
  references: readonly Reference[],
): () => readonly PreparedReference[] {
  let prepared: readonly PreparedReference[] | null = null;
  return () => {
    prepared ??= (['retired', 'staged'] as const).flatMap((state) =>
      references
        .filter((reference) => reference.state === state && isComparedBy(group, rules, reference))
        .sort(byStep)
        .map(prepareReference),
    );
    return prepared;
  };
}

/** The latest step first. */
function byStep(a: Reference, b: Reference): number {
  return (a.changed?.at ?? '') < (b.changed?.at ?? '') ? 1 : -1;
}

/** What is unknown of a boot, by whose rules, and of which node it is; null where nothing is. */
type Lacking = { readonly unknown: UnknownBoot; readonly rules: BootRules; readonly node: string } | null;

/**
 * The findings on a boot that no reference in force knows; where one that is out of force has it, the first one says which,
 * and who took it out of force and why.
 */
export function withOutOfForce(
  findings: readonly Finding[],
  references: readonly PreparedReference[],
  boot: VouchedBoot | null,
  quotes: readonly PcrValues[],
  lacking: Lacking,
): readonly Finding[] {
  const position = findings.findIndex(isOfReference);
  const finding = findings[position];
  if (finding === undefined) return findings;
  const alike = references.find((reference) => bootsLike(reference, boot, quotes));
  const known = alike ?? references.find((reference) => isWanted(reference, boot, lacking));
  if (known === undefined) return findings;
  const { name, state } = known.reference;
  const has =
    alike === undefined ? `Reference ${name} has what is unknown` : `The boot matches reference ${name}`;
  const text = `${finding.text} ${whyNotInForce(known.reference, has)}`;
  // Who approves one that expired changes nothing.
  const told: Finding = state === 'active' ? { ...finding, text } : { ...finding, text, outOfForce: name };
  return findings.with(position, told);
}

/** What a reference would mend: drift, and settings that differ from one. */
function isOfReference({ code, reference }: Finding): boolean {
  return (
    classOf(code) === 'drift' ||
    (classOf(code) === 'posture' && reference !== undefined && code !== 'revoked_reference')
  );
}

function isWanted(reference: PreparedReference, boot: VouchedBoot | null, lacking: Lacking): boolean {
  if (boot === null || lacking === null) return false;
  return knowsUnknown(reference, boot, lacking.unknown, lacking.rules, lacking.node);
}

function whyNotInForce({ state, expires, changed }: Reference, has: string): string {
  if (state === 'staged') return `${has}, but that is only staged: nobody has approved it.`;
  if (state !== 'retired') return `${has}, but that expired on ${expires}.`;
  if (changed?.action !== 'retire') return `${has}, but that is retired.`;
  return `${has}, but ${changed.by} retired it on ${changed.at} (${changed.reason}).`;
}
