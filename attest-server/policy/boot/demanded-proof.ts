import type { PcrValues } from '../../wire/pcr-values.ts';
import { compareStages } from './compare-stages.ts';
import { covers } from './judge-stages.ts';
import type { JudgedStage } from './judged-stage.ts';
import { type PreparedReference, referenceMatches } from './reference-set.ts';
import type { BootRules } from './rules.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** The stages that decide whether a kernel can give boot_aggregate: the kernel itself, and its command line. */
const ofStart: readonly JudgedStage[] = ['kernel', 'cmdline'];

/**
 * Names of the references that demand boot_aggregate of this boot; empty if none does. Attack: a node that withholds
 * IMA's list from the first answer on, because its kernel found another initrd than the log shows.
 * @param boot null if the node sent no log
 */
export function demandingReferences(
  boot: VouchedBoot | null,
  banks: readonly PcrValues[],
  active: readonly PreparedReference[],
  rules: BootRules,
): readonly string[] {
  const demanding = active.filter(({ reference }) => reference.aggregate === 'required');
  const byValues = demanding.filter((one) => one.strict && referenceMatches(one, banks));
  const byStages = boot === null ? [] : startsLike(boot, demanding, rules);
  return [...new Set([...byValues, ...byStages])].map(({ reference }) => reference.name);
}

/** References that have the kernel and the command line of this boot, be it one of them each; none if one is missing. */
export function startsLike(
  boot: VouchedBoot,
  references: readonly PreparedReference[],
  rules: BootRules,
): readonly PreparedReference[] {
  let left = ofStart;
  const found: PreparedReference[] = [];
  for (const reference of references) {
    if (reference.strict) continue;
    const differences = compareStages(boot, reference, rules);
    const others = left.filter((stage) => {
      const difference = differences.get(stage);
      const isSame = difference?.unknown.length === 0 && difference.missing.length === 0;
      return !isSame || !covers(reference, stage);
    });
    if (others.length < left.length) found.push(reference);
    left = others;
    if (left.length === 0) return found;
  }
  return [];
}
