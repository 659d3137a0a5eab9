import { compareStages, sizeOf } from './compare-stages.ts';
import { type JudgedStage, judgedStages, scopeOf } from './judged-stage.ts';
import type { PreparedReference } from './reference-set.ts';
import type { BootRules } from './rules.ts';
import type { UnknownBoot } from './unknown.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** By whose rules a boot is compared, of which node it is, and with what. */
export interface ComparisonContext {
  readonly rules: BootRules;
  readonly node: string;
  /** References in force. */
  readonly active: readonly PreparedReference[];
}

/** Says of which stages of a boot the references in force have all; they are compared once, when it is first asked. */
export function inForceKnow(boot: VouchedBoot, context: ComparisonContext): (stage: JudgedStage) => boolean {
  let known: readonly JudgedStage[] | null = null;
  return (stage) => {
    known ??= context.active
      .filter(({ strict }) => !strict)
      .flatMap((one) => judgedStages.filter(stagesKnownBy(one, boot, context)));
    return known.includes(stage);
  };
}

function stagesKnownBy(
  one: PreparedReference,
  boot: VouchedBoot,
  { rules, node }: ComparisonContext,
): (stage: JudgedStage) => boolean {
  const { reference, whole, components } = one;
  const isOwn = reference.captured?.node === node;
  const differences = compareStages(boot, one, rules);
  return (stage) => {
    const difference = differences.get(stage);
    if (difference === undefined || sizeOf(difference) > 0) return false;
    if (!whole && !components.stages.has(stage)) return false;
    return isOwn || (difference.unseen === null && scopeOf(stage, rules.scope) !== 'node');
  };
}

/**
 * True for a reference that makes all known that is unknown, once it is in force: it has a stage of that, and of each other one it
 * has all, or one in force has. By the name of its kernel those know a loader's commands that name this version.
 */
export function wouldExplain(
  reference: PreparedReference,
  boot: VouchedBoot,
  { stages }: UnknownBoot,
  context: ComparisonContext,
  inForce = inForceKnow(boot, context),
): boolean {
  if (stages === null || reference.strict) return false;
  const own = stagesKnownBy(reference, boot, context);
  const left = stages.filter((stage) => !own(stage));
  if (left.length === 0 || left.length === stages.length) return left.length === 0;
  return left.every(inForce);
}
