import type { PcrValues } from '../../protocol/pcr-values.ts';
import { classOf } from '../../protocol/reasons.ts';
import type { Reference } from '../../protocol/reference.ts';
import type { Finding } from '../finding.ts';
import { isComparedBy, type PreparedReference, prepareReference } from './reference-set.ts';
import { bootsLike } from './revoked.ts';
import type { BootRules } from './rules.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** References of a group that nobody has put in force, or that were taken out of it; made ready when first needed. */
export function idleReferences(
  group: string,
  rules: Pick<BootRules, 'references' | 'masks'>,
  references: readonly Reference[],
): () => readonly PreparedReference[] {
  let prepared: readonly PreparedReference[] | null = null;
  return () => {
    prepared ??= (['retired', 'staged'] as const).flatMap((state) =>
      references
        .filter((reference) => reference.state === state && isComparedBy(group, rules, reference))
        .sort(byStep)
        .map((reference) => prepareReference(reference, rules.masks)),
    );
    return prepared;
  };
}

/** The latest step first. */
function byStep(a: Reference, b: Reference): number {
  return (a.changed?.at ?? '') < (b.changed?.at ?? '') ? 1 : -1;
}

/**
 * The findings on a boot that no reference in force knows; where one that is out of force has it, the first one says which,
 * and who took it out of force and why.
 */
export function withOutOfForce(
  findings: readonly Finding[],
  references: readonly PreparedReference[],
  boot: VouchedBoot | null,
  quotes: readonly PcrValues[],
): readonly Finding[] {
  const position = findings.findIndex(({ code }) => classOf(code) === 'drift');
  const finding = findings[position];
  if (finding === undefined) return findings;
  const known = references.find((reference) => bootsLike(reference, boot, quotes));
  if (known === undefined) return findings;
  const { name, state } = known.reference;
  const text = `${finding.text} ${whyNotInForce(known.reference)}`;
  // Who approves one that expired changes nothing.
  const told: Finding = state === 'active' ? { ...finding, text } : { ...finding, text, outOfForce: name };
  return findings.with(position, told);
}

function whyNotInForce({ name, state, expires, changed }: Reference): string {
  const has = `The boot matches reference ${name}`;
  if (state === 'staged') return `${has}, but that is only staged: nobody has approved it.`;
  if (state !== 'retired') return `${has}, but that expired on ${expires}.`;
  if (changed?.action !== 'retire') return `${has}, but that is retired.`;
  return `${has}, but ${changed.by} retired it on ${changed.at} (${changed.reason}).`;
}
