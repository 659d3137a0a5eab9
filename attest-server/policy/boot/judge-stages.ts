import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { filePcr } from '../../wire/loader-files.ts';
import { type BootDifference, compareStages, type StageDifference, sizeOf } from './compare-stages.ts';
import { type JudgedStage, judgedStages, scopeOf } from './judged-stage.ts';
import { readsInOrder } from './loader-files.ts';
import { behindKernel } from './order.ts';
import type { PreparedReference } from './reference-set.ts';
import { type BootRules, goesByNode } from './rules.ts';
import type { JudgedComponent, VouchedBoot } from './vouched-boot.ts';

/** A boot's stages as the references judge them, each list in the order of a boot. */
export interface JudgedStages {
  /** Stages that no reference covers as they are, each beside the closest one. */
  readonly differing: readonly StageDifference[];
  /** Stages of which a reference has all, in another order. */
  readonly misplaced: readonly StageDifference[];
  /** The component measured after its kernel, if no reference has the boot as a whole. */
  readonly late: BootComponent | null;
  /** Stages that policy leaves open: what the boot measured there that no reference has. */
  readonly open: readonly OpenStage[];
  /** Stages of which a reference of this very node must speak, and none does. */
  readonly foreign: readonly OpenStage[];
  /** Files that references of other machines have, and nobody knows: one of each such stage. */
  readonly unseen: readonly BootComponent[];
  /** Stages of the boot of which no reference speaks. */
  readonly uncovered: readonly JudgedStage[];
  /** Names of the references that cover a stage as it is. */
  readonly covering: readonly string[];
}

export interface OpenStage {
  readonly stage: JudgedStage;
  readonly component: BootComponent;
}

interface ReferenceComparison {
  readonly reference: PreparedReference;
  readonly stages: BootDifference;
  readonly total: number;
}

/** Each stage may be covered by another reference: a new kernel goes with any known firmware. */
export function judgeStages(
  boot: VouchedBoot,
  references: readonly PreparedReference[],
  rules: BootRules,
  node: string,
): JudgedStages {
  const compared = compareAll(boot, references, rules, node);
  const unseen: BootComponent[] = [];
  const differing: StageDifference[] = [];
  const misplaced: StageDifference[] = [];
  const open: OpenStage[] = [];
  const foreign: OpenStage[] = [];
  const uncovered: JudgedStage[] = [];
  const by = new Set<string>();
  for (const stage of judgedStages) {
    const scope = scopeOf(stage, rules.scope);
    const own = (one: ReferenceComparison) => scope !== 'node' || isCapturedFrom(node, one.reference);
    const covering = compared.filter(({ reference }) => covers(reference, stage));
    const closest = closestOf(covering.filter(own), stage, node);
    if (closest !== null && closest.unknown.length + closest.missing.length === 0) {
      by.add(closest.reference.reference.name);
      if (closest.unseen !== null && !isCapturedFrom(node, closest.reference)) unseen.push(closest.unseen);
      if (closest.misplaced.length > 0 && scope !== 'unpinned') misplaced.push(closest);
      continue;
    }
    const isJudged = (one: JudgedComponent) =>
      one.stage === stage && (scope !== 'contents' || one.component.pcr !== filePcr);
    const first = closest?.unknown[0] ?? boot.judged.find(isJudged)?.component;
    if (closest !== null) {
      const isOpen = isInPlace(stage, closest.unknown) && (stage !== 'initrd' || onlyReplaces(boot, closest));
      if (scope !== 'unpinned' || !isOpen) differing.push(closest);
      else if (first !== undefined) open.push({ stage, component: first });
    } else if (first !== undefined) {
      const parts = boot.judged.filter((one) => one.stage === stage).map(({ component }) => component);
      if (scope === 'unpinned' && isInPlace(stage, parts)) open.push({ stage, component: first });
      else if (covering.length > 0) foreign.push({ stage, component: first });
      else uncovered.push(stage);
      // Attack: the log calls the digest of a line something that policy leaves open.
    } else if (stage === 'cmdline') uncovered.push(stage);
  }
  const [first] = compared;
  const late = first === undefined || isWhole(first) ? null : behindKernel(boot);
  return { differing, misplaced, late, open, foreign, unseen, uncovered, covering: [...by] };
}

function isCapturedFrom(node: string, { reference }: PreparedReference): boolean {
  return reference.captured?.node === node;
}

/** How much is different, or counts for another node alone. */
function weightOf(difference: StageDifference, node: string): number {
  const isAnothers = difference.unseen !== null && !isCapturedFrom(node, difference.reference);
  return sizeOf(difference) + (isAnothers ? 1 : 0);
}

/** Closest first. One that has no difference at all ends the search, where any of them may cover any stage. */
function compareAll(
  boot: VouchedBoot,
  references: readonly PreparedReference[],
  rules: BootRules,
  node: string,
): ReferenceComparison[] {
  const anyNode = !goesByNode(rules);
  const compared: ReferenceComparison[] = [];
  for (const reference of references) {
    const differences = compareStages(boot, reference, rules);
    const stages = rules.scope.initrd === 'contents' ? withoutRead(differences) : differences;
    const total = [...stages.values()].reduce((sum, one) => sum + weightOf(one, node), 0);
    const one = { reference, stages, total };
    if (anyNode && isWhole(one)) return [one];
    compared.push(one);
  }
  return compared.sort((a, b) => a.total - b.total);
}

/** An initrd that a loader read is judged by what is in it; one in a unified image is of the image. */
function withoutRead(stages: BootDifference): BootDifference {
  const initrd = stages.get('initrd')!;
  const unknown = initrd.unknown.filter(({ pcr }) => pcr !== filePcr);
  const missing = initrd.missing.filter(({ pcr }) => pcr !== filePcr && pcr !== null);
  return new Map([...stages, ['initrd', { ...initrd, unknown, missing }]]);
}

/** The boot is this one, in its order. */
function isWhole({ reference, total }: ReferenceComparison): boolean {
  return total === 0 && reference.whole;
}

/** A whole boot says of each stage what was there, also where that is nothing. */
export function covers({ whole, components }: PreparedReference, stage: JudgedStage): boolean {
  return whole || components.stages.has(stage);
}

function closestOf(
  compared: readonly ReferenceComparison[],
  stage: JudgedStage,
  node: string,
): StageDifference | null {
  let closest: StageDifference | null = null;
  for (const { stages } of compared) {
    const one = stages.get(stage)!;
    if (closest === null || weightOf(one, node) < weightOf(closest, node)) closest = one;
  }
  return closest;
}

/**
 * True if each of them is in a PCR of its stage. Attack: a loader that the log calls an image of the firmware, or an
 * initrd, of which the policy takes any.
 */
function isInPlace(stage: JudgedStage, components: readonly BootComponent[]): boolean {
  const pcrs = pcrsOfStage[stage];
  return pcrs !== undefined && components.every(({ pcr }) => pcrs.includes(pcr));
}

const pcrsOfStage: Readonly<Partial<Record<JudgedStage, readonly number[]>>> = {
  firmware: [0, 2, 6],
  driver: [0, 2, 6],
  loader: [4, 8, 9],
  kernel: [4, 9, 11],
  initrd: [9, 11],
};

/**
 * True if each unknown component stands for one that the reference has in the same PCR. Attack: a kernel that
 * the log calls an initrd, beside or in place of the true one, is one too many, or is read before the known kernel, whose
 * digest the system extended.
 */
function onlyReplaces(boot: VouchedBoot, { unknown, missing, reference }: StageDifference): boolean {
  if (reference.whole && !readsInOrder(boot, reference)) return false;
  const left = missing.map(({ pcr }) => pcr);
  return unknown.every(({ pcr }) => {
    const at = left.findIndex((one) => one === null || one === pcr);
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}
