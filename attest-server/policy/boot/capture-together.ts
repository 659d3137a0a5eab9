import type { Reference } from '../../formats/reference.ts';
import type { Proven } from '../../verify/proven.ts';
import { CaptureError } from '../capture-error.ts';
import type { PolicyGroup } from '../policy.ts';
import { type CaptureOptions, captureReference } from './capture.ts';
import { startsLike } from './demanded-proof.ts';
import { explainedFinding } from './explained-rule.ts';
import { isUsable } from './judge-boot.ts';
import { judgeStages } from './judge-stages.ts';
import { measuresKernel, noKernel } from './kernel-rule.ts';
import { prepareReference, prepareReferences } from './reference-set.ts';
import type { BootRules } from './rules.ts';
import { vouchedBoot } from './vouched-boot.ts';

/** One node's boot that somebody vouches for. */
interface VouchedNodeBoot extends Pick<Proven, 'banks' | 'boot'> {
  readonly node: string;
  /** It gave boot_aggregate, which is to be demanded of each boot with its kernel and command line. */
  readonly isDemanded: boolean;
}

/**
 * References that together cover all of these boots, stage by stage, as the group compares them. All that a reference
 * has must be measured, so it cannot hold two kernels: boots that are alike make one, and each that those before it do
 * not cover one more, named NAME, NAME-2, and so on.
 * @throws CaptureError if one of the boots can be no reference
 */
export function captureTogether(
  boots: readonly VouchedNodeBoot[],
  group: PolicyGroup,
  { name, state, by, at }: Pick<CaptureOptions, 'name' | 'state' | 'by' | 'at'>,
): readonly Reference[] {
  const captured: Reference[] = [];
  for (const boot of boots) {
    if (boot.boot !== null && !measuresKernel(boot.boot.state))
      throw new CaptureError(
        `the boot of ${boot.node} cannot become a reference: kernel_unknown: ${noKernel}`,
      );
    const reference = captureReference(boot, {
      name: captured.length === 0 ? name : `${name}-${captured.length + 1}`,
      group: group.name,
      state,
      by,
      node: boot.node,
      at,
      scope: group.rules.boot.scope,
      byValue: group.rules.boot.byValue,
    });
    if (!cover(captured, boot, group)) captured.push(reference);
  }
  // Whichever of them gave it: the same kernel can, with the same line.
  const demanded = boots.filter(({ isDemanded }) => isDemanded);
  return captured.map((reference) =>
    demanded.some((boot) => hasStartOf(reference, boot, group.rules.boot))
      ? { ...reference, aggregate: 'required' as const }
      : reference,
  );
}

function hasStartOf(reference: Reference, { banks, boot }: VouchedNodeBoot, rules: BootRules): boolean {
  if (boot === null) return false;
  const prepared = prepareReference(reference, rules.masks);
  return startsLike(vouchedBoot(boot, banks, rules, [prepared]), [prepared], rules).length > 0;
}

/** True if these references, once they are in force, leave nothing of the boot unknown that the group compares. */
function cover(
  references: readonly Reference[],
  { node, banks, boot }: VouchedNodeBoot,
  group: PolicyGroup,
): boolean {
  if (boot === null || references.length === 0) return false;
  // As if nothing else were in force, whatever the policy names.
  const alone: BootRules = { ...group.rules.boot, references: null };
  const inForce = references.map((reference): Reference => ({ ...reference, state: 'active' }));
  const usable = prepareReferences(group.name, alone, inForce).active.filter((one) => isUsable(one, banks));
  const vouched = vouchedBoot(boot, banks, group.rules.boot, usable);
  const { differing, misplaced, late, foreign, unseen, uncovered } = judgeStages(
    vouched,
    usable,
    group.rules.boot,
    node,
  );
  const unknown = differing.length + misplaced.length + foreign.length + unseen.length + uncovered.length;
  return unknown === 0 && late === null && explainedFinding(vouched, group.rules.boot, usable) === null;
}
