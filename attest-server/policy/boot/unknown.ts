import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { filePcr } from '../../wire/loader-files.ts';
import { type PcrValues, pcrsOf, pcrValue } from '../../wire/pcr-values.ts';
import { setOf, shownThings, type UnknownThing, type UnknownThings } from '../unknown.ts';
import { isLineWithoutText } from './capture.ts';
import type { StageDifference } from './compare-stages.ts';
import { comparedBanks, comparedMask, strongestDigest } from './compared-pcrs.ts';
import { isHidden } from './file-content.ts';
import type { JudgedStages } from './judge-stages.ts';
import { type JudgedStage, judgedStages, scopeOf, stageNames } from './judged-stage.ts';
import { measuresKernel, noKernel } from './kernel-rule.ts';
import { maskIdentifiers } from './masked-text.ts';
import type { BootRules } from './rules.ts';
import { nameOf } from './sentence.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** The part of a boot that no reference in force has. */
export interface UnknownBoot extends Omit<UnknownThings, 'knownBy'> {
  /** Which stages a reference must cover to know it; null if that is not all. */
  readonly stages: readonly JudgedStage[] | null;
}

/** The stages of a boot that the references in force lack. */
export interface MissingStages
  extends Pick<JudgedStages, 'differing' | 'misplaced' | 'foreign' | 'unseen' | 'late'> {
  /** Stages that no reference speaks of, and no rule. */
  readonly uncovered: readonly JudgedStage[];
  /** Stages of `differing` that are reported as causes. */
  readonly causes: readonly JudgedStage[];
  /** PCRs that were not quoted, or hold what no log explains: no reference changes that. */
  readonly pcrs: readonly number[];
}

/** Null if nothing is unknown. */
export function unknownStages(
  boot: VouchedBoot,
  lacking: MissingStages,
  rules: BootRules,
): UnknownBoot | null {
  const { differing, misplaced, foreign, unseen, late, uncovered, causes, pcrs } = lacking;
  const parts = new Map<JudgedStage, UnknownPart>();
  const put = (stage: JudgedStage, part: UnknownPart) => {
    const before = parts.get(stage);
    parts.set(stage, before === undefined ? part : joined(before, part));
  };
  for (const difference of differing) put(difference.stage, ofDifference(boot, difference, rules));
  for (const { stage } of foreign) put(stage, ownPart(measuredAt(boot, stage)));
  for (const stage of uncovered) put(stage, partOf(boot, measuredAt(boot, stage), rules));
  for (const component of unseen)
    put('loader', { ...ownPart([component]), lines: [lineOf(boot, component, rules)] });
  for (const { stage, misplaced: some } of misplaced)
    put(stage, partOf(boot, some, rules, 'in another order'));
  if (late !== null) put('loader', partOf(boot, [late], rules, 'after the kernel'));
  if (parts.size + pcrs.length === 0) return null;
  const order = [...new Set([...causes, ...judgedStages])].filter((stage) => parts.has(stage));
  const lines = [...parts].flatMap(([stage, { lines: its }]) => its.map((line) => `${stage} ${line}`));
  return {
    set: setOf([...lines, ...pcrs.map((pcr) => `pcr ${pcr}`)]),
    things: shownThings([
      ...order.map((stage) => thingOf(stage, parts.get(stage)!)),
      ...pcrs.map((pcr) => ({ what: 'PCR', name: `PCR ${pcr}`, digest: null, more: 0 })),
    ]),
    own: [...parts.values()].some(({ own }) => own),
    lacks: pcrs.length > 0 ? `no log explains PCR ${pcrs.join(', ')}` : lackOf(boot),
    stages: late === null && pcrs.length === 0 ? [...parts.keys()] : null,
  };
}

/** A boot that can be compared stage by stage with nothing: all of it. */
export function unknownWhole(boot: VouchedBoot, rules: BootRules): UnknownBoot {
  const stages = judgedStages.filter((stage) => measuredAt(boot, stage).length > 0);
  const whole = {
    differing: [],
    misplaced: [],
    foreign: [],
    unseen: [],
    late: null,
    causes: [],
    pcrs: [],
    uncovered: stages,
  };
  return unknownStages(boot, whole, rules) ?? { ...nothingMeasured, lacks: 'the log measures nothing' };
}

/** Without a log there are the values of PCRs. */
export function unknownValues(banks: readonly PcrValues[]): UnknownBoot {
  const values = banks
    .filter(({ bank }) => comparedBanks.some((compared) => compared === bank))
    .map((quoted) => `${quoted.bank} ${valuesOf(quoted)}`);
  return { ...nothingMeasured, set: setOf(values), lacks: 'the node sent no boot log' };
}

const nothingMeasured: UnknownBoot = {
  set: setOf([]),
  things: [{ what: 'boot', name: 'PCR values alone', digest: null, more: 0 }],
  own: false,
  lacks: null,
  stages: null,
};

function valuesOf(quoted: PcrValues): string {
  return pcrsOf(comparedMask)
    .map((pcr) => pcrValue(quoted, pcr)?.toString('hex') ?? '-')
    .join(' ');
}

/** The unknown part of one stage. */
interface UnknownPart {
  readonly lines: readonly string[];
  readonly first: BootComponent | null;
  /** For people, where nothing of it was measured, or how. */
  readonly words: string | null;
  readonly count: number;
  readonly own: boolean;
}

function joined(a: UnknownPart, b: UnknownPart): UnknownPart {
  return {
    lines: [...a.lines, ...b.lines],
    first: a.first ?? b.first,
    words: a.words ?? b.words,
    count: a.count + b.count,
    own: a.own || b.own,
  };
}

function ofDifference(
  boot: VouchedBoot,
  { stage, unknown, missing }: StageDifference,
  rules: BootRules,
): UnknownPart {
  if (scopeOf(stage, rules.scope) === 'node') return ownPart(unknown);
  if (unknown.length > 0) return partOf(boot, unknown, rules);
  const [first] = missing;
  const named = first === undefined ? 'something' : first.description === '' ? first.kind : first.description;
  return {
    lines: missing.map(({ key }) => `lacks ${key}`),
    first: null,
    words: `without ${named ?? 'something'}`,
    count: 1,
    own: false,
  };
}

function partOf(
  boot: VouchedBoot,
  components: readonly BootComponent[],
  rules: BootRules,
  how: string | null = null,
): UnknownPart {
  const mark = how === null ? '' : `${how} `;
  return {
    lines: components.map((component) => mark + lineOf(boot, component, rules)),
    first: firstOf(components),
    words: how,
    count: components.length,
    own: false,
  };
}

/** Components that differ from node to node tell no two of them apart. */
function ownPart(components: readonly BootComponent[]): UnknownPart {
  return { lines: ['its own'], first: firstOf(components), words: null, count: components.length, own: true };
}

/** A loader itself before what it was told; a kernel's file, which has its version in its name, before its image in memory. */
function firstOf(components: readonly BootComponent[]): BootComponent | null {
  const file = components.find(
    ({ pcr, stage, kind }) => pcr === filePcr && stage === 'kernel' && kind === 'file',
  );
  return file ?? components.find(({ kind }) => kind === 'code') ?? components[0] ?? null;
}

function lineOf(boot: VouchedBoot, component: BootComponent, { scope }: BootRules): string {
  const { pcr, kind, stage, text, digests } = component;
  const isLine = stage === 'cmdline';
  if (text === null || !(isLine || kind === 'command')) return `${pcr} ${strongestDigest(digests) ?? 'sha1'}`;
  if (isLine && scope.cmdline === 'exact') return `${pcr} ${text}`;
  const compared = isLine ? boot.lineOf(component)?.arguments.join(' ') : boot.texts.of(component)[0];
  return `${pcr} ${compared ?? maskIdentifiers(text)}`;
}

function measuredAt({ judged }: VouchedBoot, stage: JudgedStage): readonly BootComponent[] {
  return judged.filter((one) => one.stage === stage).map(({ component }) => component);
}

function thingOf(stage: JudgedStage, { first, words, count, own }: UnknownPart): UnknownThing {
  const name =
    first === null
      ? (words ?? 'nothing was measured')
      : nameOf({ describes: first.describes, type: first.type });
  return {
    what: stageNames[stage],
    name: first === null || words === null ? name : `${name} ${words}`,
    digest: first === null || own ? null : strongestDigest(first.digests),
    more: Math.max(0, count - 1),
  };
}

/** The reason why a capture would refuse the boot. */
function lackOf({ state, quotes }: VouchedBoot): string | null {
  if (!measuresKernel(state)) return noKernel;
  const unquoted = pcrsOf(comparedMask).find((pcr) => !quotes(pcr));
  if (unquoted !== undefined) return `PCR ${unquoted} was not quoted`;
  if (state.components.some(isLineWithoutText)) return 'the log does not have the text of a command line';
  return state.components.some(isHidden) ? 'a kernel or an initrd was measured under another name' : null;
}
