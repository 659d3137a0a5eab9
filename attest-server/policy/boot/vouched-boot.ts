import type { BootProblem } from '../../verify/boot/boot-problem.ts';
import type { BootComponent, BootState } from '../../verify/boot/boot-state.ts';
import type { BootCap } from '../../verify/boot-cap.ts';
import type { ReplayedBoot } from '../../verify/measured-boot.ts';
import type { EventLog } from '../../verify/tpm/event-log.ts';
import { capPcr } from '../../wire/cap.ts';
import type { PcrValues } from '../../wire/pcr-values.ts';
import { isCutOff, type ParsedCommandLine } from '../command-line.ts';
import { besidesValues, valuesIn } from './by-value.ts';
import { addOnPcrs, isExtended } from './compared-pcrs.ts';
import { type ComponentName, factsOf, holdsNoOwnerKey, isJudgedByRule } from './judged-by-rule.ts';
import { type JudgedStage, judgedPcrs, judgedStage } from './judged-stage.ts';
import { versionOfBoot, withoutVersion } from './kernel-version.ts';
import { comparedCommands, namesSeveralDisks } from './loader-commands.ts';
import { maskIdentifiers } from './masked-text.ts';
import { isConstant } from './only-read.ts';
import { type CommandTexts, comparedLine, referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import { replays } from './replays.ts';
import type { BootRules } from './rules.ts';
import { measuresOn } from './secure-boot.ts';

/** A boot as it is compared: what counts of its components, and what the TPM vouches for. */
export interface VouchedBoot {
  /** SHA-256 of the log, hex. */
  readonly digest: string;
  readonly state: BootState;
  /** Components of judged PCRs that no rule judges. */
  readonly judged: readonly JudgedComponent[];
  /** PCRs as a whole, of those that the policy compares by value: they are among the judged. */
  readonly values: readonly BootComponent[];
  /** Components of other PCRs, and those that a rule judges: a reference may still require them. */
  readonly unjudged: readonly BootComponent[];
  /** The commands of its loader are known. */
  readonly hasCommands: boolean;
  /** Files of its loader that are not known by what they are: only a reference of this very node vouches for them. */
  readonly unseen: ReadonlySet<BootComponent>;
  /** A configuration file of which the bytes are lines, so that all it does is measured as commands. */
  readonly isReadable: (component: BootComponent) => boolean;
  /** PCR 11 is vouched for: the sections of a unified kernel image. */
  readonly hasSections: boolean;
  /** The log as it was parsed, for references that know values alone. */
  readonly log: EventLog;
  readonly problems: readonly BootProblem[];
  /** Problems that count: all but those of PCRs that are compared by value. */
  readonly told: readonly BootProblem[];
  /** Events that the log shows to be wrong; told as such. */
  readonly doubted: ReadonlySet<number>;
  readonly quotes: (pcr: number) => boolean;
  /** The PCR among 12 and 13 that holds something which no log explains: null if all is well. */
  readonly unexplained: number | null;
  /** The PCR was quoted, and the log replays onto it; of PCR 15 the log of user space, too, and the cap. */
  readonly vouches: (pcr: number) => boolean;
  readonly judgedByRule: (referenced: ComponentName) => boolean;
  readonly componentAt: (event: number) => BootComponent | undefined;
  /** The arguments of a command line; null if its text is not known, or longer than a kernel reads. */
  readonly lineOf: (component: BootComponent) => ParsedCommandLine | null;
  /** By what a command of its loader is compared; made when first needed. */
  readonly texts: CommandTexts;
}

export interface JudgedComponent {
  readonly component: BootComponent;
  readonly stage: JudgedStage;
}

/**
 * @param known references that say which version a kernel or an initrd is
 * @param seen `all`: where boots are only compared, what a log calls a configuration file is one
 */
export function vouchedBoot(
  { digest, log, state, problems, cap, userSpace = [] }: ReplayedBoot,
  banks: readonly PcrValues[],
  rules: BootRules,
  known: readonly PreparedReference[],
  seen: 'as-proven' | 'all' = 'as-proven',
): VouchedBoot {
  const { components } = state;
  const quoted = banks.reduce((mask, bank) => mask & bank.mask, 0xffffff);
  const facts = factsOf(state);
  const isLeftToRules = (component: BootComponent) => {
    if (component.pcr === 14) return isJudgedAsOwners(rules, state, component);
    const fact = component.pcr === 7 ? facts.get(component.event) : undefined;
    return fact !== undefined && isJudgedByRule(rules, { pcr: component.pcr, ...fact });
  };
  // What the log shows wrong about an event is reported; it must not be left out of the comparison for it.
  const values = valuesIn(problems, banks, rules);
  const told = besidesValues(problems, values);
  const doubted = new Set(told.flatMap((problem) => problem.event ?? []));
  const judged = values.map((component): JudgedComponent => ({ component, stage: 'firmware' }));
  const unjudged: BootComponent[] = [];
  let hasCommands = false;
  let hasSections = false;
  for (const component of components) {
    const { event, pcr, kind } = component;
    if (!judgedPcrs.has(pcr)) unjudged.push(component);
    if (!judgedPcrs.has(pcr) || (isConstant(component) && !doubted.has(event))) continue;
    const stage = judgedStage(component.stage, pcr);
    if (pcr === 8 && kind === 'command') hasCommands = true;
    if (pcr === 11 && stage === 'kernel') hasSections = true;
    if (isLeftToRules(component)) unjudged.push(component);
    else judged.push({ component, stage });
  }
  const lineOf = remembered((text) => comparedLine(maskIdentifiers(text), rules.masks));
  // Attacks: one more extension of such a PCR by the system, so that its log does not replay and what was added is not
  // seen; or the stub's own one, put into the log of user space.
  const isExplained = (pcr: number) =>
    components.some((one) => one.pcr === pcr) && !userSpace.some((one) => one.pcr === pcr);
  return {
    digest,
    state,
    judged,
    values,
    unjudged,
    hasCommands,
    unseen: seen === 'all' || state.unexplained.length === 0 ? noneUnseen : new Set(state.unexplained),
    isReadable: ({ content }) =>
      content === 'text' || content === 'environment' || (seen === 'all' && content === null),
    hasSections,
    log,
    problems,
    told,
    doubted,
    quotes: (pcr) => (quoted & (1 << pcr)) !== 0,
    unexplained:
      addOnPcrs.find((pcr) => banks.some((bank) => isExtended(bank, pcr)) && !isExplained(pcr)) ?? null,
    vouches: (pcr) =>
      (quoted & (1 << pcr)) !== 0 && replays(problems, pcr) && (pcr !== capPcr || isCapExplained(cap)),
    judgedByRule: (referenced) => isJudgedByRule(rules, referenced),
    componentAt: (event) => components[indexOf(components, event)],
    lineOf: ({ text }) => (text === null || isCutOff(text) ? null : lineOf(text)),
    texts: commandTexts(components, rules, known),
  };
}

function isCapExplained(cap: BootCap): boolean {
  return cap.values().every(({ state }) => state !== 'unexplained');
}

function commandTexts(
  components: readonly BootComponent[],
  { masks }: BootRules,
  known: readonly PreparedReference[],
): CommandTexts {
  let commands: ReadonlyMap<BootComponent, string> | null = null;
  let version: string | null | undefined;
  let several: boolean | null = null;
  const compared = (component: BootComponent) => {
    commands ??= comparedCommands(components, masks);
    return commands.get(component);
  };
  return {
    compared,
    of: (component) => {
      const command = compared(component);
      const { kind, text } = component;
      if (command === undefined) return kind === 'command' && text !== null ? [maskIdentifiers(text)] : none;
      if (version === undefined) version = versionOf(components, known);
      return version === null ? [command] : [withoutVersion(command, version), command];
    },
    severalDisks: () => {
      several ??= namesSeveralDisks(components);
      return several;
    },
  };
}

function versionOf(components: readonly BootComponent[], known: readonly PreparedReference[]): string | null {
  return versionOfBoot(components, (file) =>
    known.flatMap((one) => referencedComponent(one.components, file, noCommands) ?? []),
  );
}

const none: readonly never[] = [];
/** A kernel or an initrd is known by its digest alone. */
const noCommands: CommandTexts = {
  compared: () => undefined,
  of: () => none,
  severalDisks: () => false,
};

/** Shim's switches are one byte each, and any that is on may be the one that turns validation off. */
function isJudgedAsOwners({ mok }: BootRules, state: BootState, component: BootComponent): boolean {
  if (mok === null || measuresOn(component)) return false;
  return mok === 'allow' || holdsNoOwnerKey(state, component.event);
}

const noneUnseen: ReadonlySet<BootComponent> = new Set();

/** One boot is compared with many references. */
function remembered<Value>(of: (text: string) => Value): (text: string) => Value {
  const known = new Map<string, Value>();
  return (text) => {
    const value = known.get(text) ?? of(text);
    known.set(text, value);
    return value;
  };
}

/** Components are in the log's order: the place of an event by halving. */
function indexOf(components: readonly BootComponent[], event: number): number {
  let low = 0;
  let high = components.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (components[middle]!.event < event) low = middle + 1;
    else high = middle;
  }
  return components[low]?.event === event ? low : -1;
}
