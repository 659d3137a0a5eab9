import type { PcrValues } from '../../wire/pcr-values.ts';
import { comparedBanks } from './compared-pcrs.ts';
import { type ReferencedComponent, referencedComponent } from './prepared-components.ts';
import {
  namedPcrsMatch,
  type PreparedReference,
  type ReferenceSet,
  someBankMatches,
} from './reference-set.ts';
import type { VouchedBoot } from './vouched-boot.ts';

export interface RevokedMatch {
  readonly reference: PreparedReference;
  /** The component of it that the boot has; null if the boot is the reference as a whole. */
  readonly component: ReferencedComponent | null;
}

/**
 * The revoked reference that a boot is, or that has a kernel, initrd or loader of it which no active reference has: what
 * two boots share was not what the one was revoked for. No scope of the policy takes anything away from it.
 */
export function revokedIn(
  { active, revoked }: ReferenceSet,
  boot: VouchedBoot | null,
  quotes: readonly PcrValues[],
): RevokedMatch | null {
  for (const reference of revoked) {
    if (reference.strict) {
      if (someBankMatches(reference, quotes)) return { reference, component: null };
      continue;
    }
    if (boot === null) continue;
    const present = presentIn(reference, boot);
    const isThis = hasAll(reference, present, quotes);
    if (isThis && reference.whole) return { reference, component: null };
    const component = [...present.values()].find(
      (one) => isThis || (isCode(one) && !active.some((other) => has(other, one))),
    );
    if (component !== undefined) return { reference, component };
  }
  return null;
}

/** True for a boot that has all that the reference names. */
export function bootsLike(
  reference: PreparedReference,
  boot: VouchedBoot | null,
  quotes: readonly PcrValues[],
): boolean {
  if (reference.strict) return someBankMatches(reference, quotes);
  return boot !== null && hasAll(reference, presentIn(reference, boot), quotes);
}

function hasAll(
  reference: PreparedReference,
  present: ReadonlyMap<string, ReferencedComponent>,
  quotes: readonly PcrValues[],
): boolean {
  return reference.components.all.every(({ key }) => present.has(key)) && namedPcrsMatch(reference, quotes);
}

function presentIn({ components }: PreparedReference, boot: VouchedBoot): Map<string, ReferencedComponent> {
  const present = new Map<string, ReferencedComponent>();
  for (const component of [...boot.values, ...boot.state.components]) {
    const known = referencedComponent(components, component, boot.texts);
    if (known !== null) present.set(known.key, known);
  }
  return present;
}

/** Scripts, files and settings that a loader reads are shared by good and bad boots alike. */
export function isCode({ stage, kind }: ReferencedComponent): boolean {
  return (
    stage === 'kernel' || stage === 'initrd' || (stage === 'loader' && (kind === 'code' || kind === null))
  );
}

export function has(
  { components }: Pick<PreparedReference, 'components'>,
  { digests }: Pick<ReferencedComponent, 'digests'>,
): boolean {
  return comparedBanks.some((bank) => components.byDigest.has(digests[bank] ?? ''));
}
