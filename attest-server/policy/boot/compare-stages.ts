import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { argumentDifference, sameOrder } from '../command-line.ts';
import { isSeen } from './file-content.ts';
import { type JudgedStage, judgedStages } from './judged-stage.ts';
import { mayReadOtherConfiguration } from './loader-files.ts';
import { isConfiguration, isOfMenu } from './only-read.ts';
import { MeasuredOrder } from './order.ts';
import { type ReferencedComponent, referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import type { BootRules } from './rules.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** How one stage of a boot differs from one reference. */
export interface StageDifference {
  readonly reference: PreparedReference;
  readonly stage: JudgedStage;
  /** Components of the boot that the reference does not have, in the log's order. */
  readonly unknown: readonly BootComponent[];
  /** Components of the reference that the boot did not measure. */
  readonly missing: readonly ReferencedComponent[];
  /** Components of both that the boot measured in another order. */
  readonly misplaced: readonly BootComponent[];
  /** A file that the reference has, of which nobody knows what it is: it counts for the node of the reference alone. */
  readonly unseen: BootComponent | null;
}

/** The number of differences of the stage, without those that count only for another node. */
export function sizeOf({ unknown, missing, misplaced }: StageDifference): number {
  return unknown.length + missing.length + misplaced.length;
}

/** The difference of each stage; every stage is there, most without any. */
export type BootDifference = ReadonlyMap<JudgedStage, StageDifference>;

/** Compares a boot with one reference, stage by stage: which components there are, and in which order of their PCR. */
export function compareStages(
  boot: VouchedBoot,
  reference: PreparedReference,
  rules: BootRules,
): BootDifference {
  const { components } = reference;
  const present = new Set<string>();
  const counts = new Map<string, number>();
  const unknown = new Map<JudgedStage, BootComponent[]>();
  const unseen = new Map<JudgedStage, BootComponent>();
  const bothHaveCommands = boot.hasCommands && components.hasCommands;
  let mayBeOther: boolean | undefined;
  const order = new MeasuredOrder();
  const judgesSections = boot.hasSections && components.all.some(({ pcr }) => pcr === 11);
  for (const { component, stage } of boot.judged) {
    if (component.pcr === 11 && !judgesSections) continue;
    const known = referencedComponent(components, component, boot.texts);
    if (known !== null && isOneOf(components, known, component, counts)) {
      if (boot.unseen.has(component) && !isSeen(known.content)) unseen.set(stage, component);
      if (present.has(known.key)) continue;
      present.add(known.key);
      order.add(component.pcr, known, component);
    } else if (bothHaveCommands && isOfMenu(component)) continue;
    else if (isConfiguration(component)) {
      mayBeOther ??= mayReadOtherConfiguration(boot, reference, rules);
      if (!mayBeOther || !boot.isReadable(component)) add(unknown, stage, component);
    } else if (stage !== 'cmdline' || !commandLineKnown(boot, component, reference, rules, present))
      add(unknown, stage, component);
  }
  if (components.anywhere)
    for (const component of boot.unjudged) {
      const known = referencedComponent(components, component, boot.texts);
      if (known !== null) present.add(known.key);
    }
  const missing = components.all.filter(
    (one) =>
      !present.has(one.key) &&
      (one.pcr === null || boot.vouches(one.pcr) || isValueHere(boot, one)) &&
      !(one.pcr === 11 && !judgesSections) &&
      !(bothHaveCommands && (isConfiguration(one) || isOfMenu(one))) &&
      !boot.judgedByRule(one),
  );
  const differences = new Map<JudgedStage, StageDifference>();
  for (const stage of judgedStages) {
    const lacking = missing.length === 0 ? none : missing.filter((one) => one.stage === stage);
    const misplaced = order.misplaced.length === 0 ? none : order.of(stage);
    differences.set(stage, {
      reference,
      stage,
      unknown: unknown.get(stage) ?? none,
      missing: lacking,
      misplaced,
      unseen: unseen.get(stage) ?? null,
    });
  }
  return differences;
}

const none: readonly never[] = [];

/** Both name the PCR as a whole. */
function isValueHere({ values }: VouchedBoot, { kind, pcr }: ReferencedComponent): boolean {
  return kind === 'value' && values.some((one) => one.pcr === pcr);
}

function add(unknown: Map<JudgedStage, BootComponent[]>, stage: JudgedStage, component: BootComponent): void {
  const others = unknown.get(stage);
  if (others === undefined) unknown.set(stage, [component]);
  else others.push(component);
}

/**
 * False for a variable more than the reference has. Attack: shim's switches are one byte each, and their names are in
 * no digest: the one that turns validation off looks like any other that is on.
 */
function isOneOf(
  referenced: PreparedReference['components'],
  { key }: ReferencedComponent,
  { kind, pcr }: BootComponent,
  counts: Map<string, number>,
): boolean {
  if (kind !== 'variable' && pcr !== 14) return true;
  const count = (counts.get(key) ?? 0) + 1;
  counts.set(key, count);
  return count <= (referenced.counts.get(key) ?? 0);
}

/**
 * True if a command line has the arguments of one that the reference has. Marks what of the reference it stands
 * for.
 */
function commandLineKnown(
  boot: VouchedBoot,
  component: BootComponent,
  { components }: PreparedReference,
  { scope, cmdline }: BootRules,
  present: Set<string>,
): boolean {
  if (scope.cmdline === 'exact') return false;
  const line = boot.lineOf(component);
  if (line === null) return false;
  const same = components.lines.filter(({ line: expected, pcr }) => {
    if (pcr !== null && pcr !== component.pcr) return false;
    const { more, less } = argumentDifference(expected, line, cmdline.allow);
    return more.length === 0 && less.length === 0 && sameOrder(expected, line, cmdline.allow);
  });
  for (const { key } of same) present.add(key);
  return same.length > 0;
}
