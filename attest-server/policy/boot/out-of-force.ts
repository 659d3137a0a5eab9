import type { Reference } from '../../formats/reference.ts';
import type { PcrValues } from '../../wire/pcr-values.ts';
import { classOf } from '../../wire/reasons.ts';
import type { Finding } from '../finding.ts';
import { isComparedBy, type PreparedReference, referenceMatches } from './reference-set.ts';
import { bootsLike } from './revoked.ts';
import type { BootRules } from './rules.ts';
import type { UnknownBoot } from './unknown.ts';
import type { VouchedBoot } from './vouched-boot.ts';
import { type ComparisonContext, inForceKnow, wouldExplain } from './would-explain.ts';

/** References of a group that nobody has put in force, or that were taken out of it; prepared when first needed. */
export function idleReferences(
  group: string,
  rules: Pick<BootRules, 'references'>,
  references: readonly Reference[],
  ready: (reference: Reference) => PreparedReference,
): () => readonly PreparedReference[] {
  let prepared: readonly PreparedReference[] | null = null;
  return () => {
    prepared ??= (['retired', 'staged'] as const).flatMap((state) =>
      references
        .filter((reference) => reference.state === state && isComparedBy(group, rules, reference))
        .sort(byStep)
        .map(ready),
    );
    return prepared;
  };
}

/** The latest step first. */
function byStep(a: Reference, b: Reference): number {
  return (a.changed?.at ?? '') < (b.changed?.at ?? '') ? 1 : -1;
}

/** The unknown part of a boot, and how it is compared; null if nothing is unknown. */
type UnmatchedBoot =
  | (ComparisonContext & {
      readonly unknown: UnknownBoot;
      /** The boot as it is compared once this reference is in force, too. */
      readonly bootWith: (reference: PreparedReference) => VouchedBoot | null;
    })
  | null;

/**
 * The findings on a boot that no reference in force knows; where one that is out of force has it, the first one says which,
 * and who took it out of force and why. `knownBy`: one that can be approved, and then knows all of the boot.
 */
export function withOutOfForce(
  findings: readonly Finding[],
  references: readonly PreparedReference[],
  boot: VouchedBoot | null,
  quotes: readonly PcrValues[],
  lacking: UnmatchedBoot,
): { readonly findings: readonly Finding[]; readonly knownBy: string | null } {
  const isWanted = wantedFor(boot, quotes, lacking);
  const wanted = references.find(isWanted);
  const known = wanted ?? references.find((reference) => bootsLike(reference, boot, quotes));
  const knownBy = wanted?.reference.name ?? null;
  const position = findings.findIndex(isOfReference);
  const finding = findings[position];
  if (finding === undefined || known === undefined) return { findings, knownBy };
  const { name, state } = known.reference;
  const has = bootsLike(known, boot, quotes)
    ? `The boot matches reference ${name}`
    : `Reference ${name} has what is unknown`;
  const text = `${finding.text} ${whyNotInForce(known.reference, has)}`;
  // Who approves one that expired changes nothing.
  const told: Finding = state === 'active' ? { ...finding, text } : { ...finding, text, outOfForce: name };
  return { findings: findings.with(position, told), knownBy };
}

/** Findings that a reference would clear: drift, and settings that differ from one. */
function isOfReference({ code, reference }: Finding): boolean {
  return (
    classOf(code) === 'drift' ||
    (classOf(code) === 'posture' && reference !== undefined && code !== 'revoked_reference')
  );
}

/** True for one that can be approved, and then knows the boot. */
function wantedFor(
  boot: VouchedBoot | null,
  quotes: readonly PcrValues[],
  lacking: UnmatchedBoot,
): (reference: PreparedReference) => boolean {
  if (lacking === null) return () => false;
  // Of one boot: hundreds of hosts have references of their own, in force and out of it.
  const inForce = boot === null ? undefined : inForceKnow(boot, lacking);
  return (reference) => {
    if (reference.reference.state === 'active') return false;
    if (reference.strict) return referenceMatches(reference, quotes);
    if (boot === null || !wouldExplain(reference, boot, lacking.unknown, lacking, inForce)) return false;
    // What another one out of force would make known does not count.
    const own = lacking.bootWith(reference);
    return own !== null && wouldExplain(reference, own, lacking.unknown, lacking);
  };
}

function whyNotInForce({ state, expires, changed }: Reference, has: string): string {
  if (state === 'staged') return `${has}, but that is only staged: nobody has approved it.`;
  if (state !== 'retired') return `${has}, but that expired on ${expires}.`;
  if (changed?.action !== 'retire') return `${has}, but that is retired.`;
  return `${has}, but ${changed.by} retired it on ${changed.at} (${changed.reason}).`;
}
