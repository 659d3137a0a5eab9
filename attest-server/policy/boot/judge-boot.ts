import { type PcrValues, pcrsOf } from '../../wire/pcr-values.ts';
import { isCutOff } from '../command-line.ts';
import type { Finding } from '../finding.ts';
import type { UnknownThings } from '../unknown.ts';
import { commandLineFinding } from './command-line-rules.ts';
import { addOnPcrs, comparedMask } from './compared-pcrs.ts';
import { explainedFinding } from './explained-rule.ts';
import { hiddenFinding, unseenFinding } from './file-content.ts';
import { noReference } from './findings.ts';
import type { JudgedContents } from './initrd/judge-contents.ts';
import { initrdFinding } from './initrd-rule.ts';
import { judgeStages } from './judge-stages.ts';
import type { JudgedStage } from './judged-stage.ts';
import { kernelFinding, knowsKernel } from './kernel-rule.ts';
import { explainMismatch } from './mismatch.ts';
import { namedPcrsMatch, type PreparedReference, referenceMatches } from './reference-set.ts';
import { type BootRules, judgesLines } from './rules.ts';
import { secureBootFindings } from './secure-boot-rules.ts';
import { isSignedChange } from './signed-change.ts';
import { causesOf } from './stage-causes.ts';
import {
  behindKernelFinding,
  foreignFinding,
  misplacedFinding,
  openFinding,
  stageFinding,
  uncoveredFinding,
  unexplainedFinding,
  unquotedFinding,
} from './stage-findings.ts';
import { type UnknownBoot, unknownStages, unknownWhole } from './unknown.ts';
import { valueFinding } from './value-finding.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** The judgement of a boot under a group's rules. */
export interface BootJudgement {
  /** Breaches of a rule or a reference, the cause first; at most one of each code. */
  readonly findings: readonly Finding[];
  /** Every stage is covered by an active reference, or left open by the policy. */
  readonly asReferenced: boolean;
  /** Names of the references that the boot is like, as a whole or stage by stage. */
  readonly references: readonly string[];
  /** The part of it that no reference in force has. */
  readonly unknown: UnknownBoot | null;
  /** The content of its initrds that no list in force has. */
  readonly inInitrds: UnknownThings | null;
}

export interface BootContext {
  /** Name of the group. */
  readonly group: string;
  readonly rules: BootRules;
  /** References that have not expired. */
  readonly active: readonly PreparedReference[];
  /** Digests that the reference named by the rule `dbx` revokes; null if it says nothing. */
  readonly revocations: readonly string[] | null;
  /** The judgement of initrds by their content; null if they are compared with references. */
  readonly contents: JudgedContents | null;
  readonly node: string;
}

/** Judges a boot with its log by rules and references. What the log shows wrong about itself is reported elsewhere. */
export function judgeBoot(
  boot: VouchedBoot,
  banks: readonly PcrValues[],
  context: BootContext,
): BootJudgement {
  const { active, revocations, rules, contents } = context;
  const usable = active.filter((reference) => isUsable(reference, banks));
  const ofSecureBoot = secureBootFindings(boot, rules, usable, revocations);
  const broken = [
    kernelFinding(boot, usable),
    ...ofSecureBoot,
    commandLineFinding(boot, rules, usable),
    explainedFinding(boot, rules, usable),
    hiddenFinding(boot),
  ].filter((finding) => finding !== null);
  const byRule = new Map(broken.map((finding) => [finding.code, finding]));
  const match = active.find((one) => one.strict && referenceMatches(one, banks));
  const { findings, asReferenced, references, unknown } =
    match !== undefined
      ? { findings: [], asReferenced: true, references: [match.reference.name], unknown: null }
      : judgeByReferences(boot, banks, usable, context, ofSecureBoot.length === 0);
  // A rule says better than a reference what is wrong.
  const named = [...findings, ...(contents?.findings ?? [])].map(
    (finding) => byRule.get(finding.code) ?? finding,
  );
  const byValue = asReferenced ? valueFinding(boot, match === undefined ? usable : [match]) : null;
  return {
    findings: oneOfEach([...named, ...broken, ...(byValue === null ? [] : [byValue])]),
    asReferenced: asReferenced && knowsKernel(boot, usable) && contents?.affirmed !== false,
    references: [...references, ...(contents?.references ?? [])],
    unknown,
    inInitrds: contents?.unknown ?? null,
  };
}

/** A reference by components that shares a bank with the quote, and whose PCR values, where it names any, are these. */
export function isUsable(reference: PreparedReference, banks: readonly PcrValues[]): boolean {
  const shares = banks.some(({ bank }) => reference.components.banks.includes(bank));
  return !reference.strict && shares && namedPcrsMatch(reference, banks);
}

function judgeByReferences(
  boot: VouchedBoot,
  banks: readonly PcrValues[],
  usable: readonly PreparedReference[],
  { group, rules, active, node }: BootContext,
  secureBootHolds: boolean,
): Omit<BootJudgement, 'inInitrds'> {
  if (active.length > 0 && usable.length === 0)
    return {
      findings: [explainMismatch(active, banks, boot)],
      asReferenced: false,
      references: [],
      unknown: unknownWhole(boot, rules),
    };
  const stages = judgeStages(boot, usable, rules, node);
  const { differing, misplaced, late, open, foreign, unseen, uncovered, covering } = stages;
  const isEmpty = boot.judged.length === 0 && boot.problems.length === 0;
  const unknown = isEmpty
    ? (['firmware', 'loader', 'kernel'] as const)
    : uncovered.filter((stage) => !coveredByRules(boot, stage, rules));
  const unquoted = usable.length === 0 ? undefined : toBeQuoted.find((pcr) => !boot.quotes(pcr));
  const initrd = initrdFinding(boot, usable);
  const untold = differing.filter(
    ({ unknown: added, missing }) =>
      missing.length > 0 || added.some(({ event }) => !boot.doubted.has(event)),
  );
  const causes = causesOf(boot, untold).filter(({ stage }) => stage !== 'initrd' || initrd === null);
  const isSigned =
    unquoted === undefined &&
    boot.unexplained === null &&
    isSignedChange(boot, rules, stages, causes, secureBootHolds);
  const findings = [
    ...causes.map((difference) => stageFinding(boot, difference, rules, isSigned)),
    initrd,
    ...foreign.map((stage) => foreignFinding(boot, stage, node)),
    ...unseen.map((component) => unseenFinding(boot, component, node)),
    ...(unquoted === undefined ? [] : [unquotedFinding(unquoted, usable)]),
    ...misplaced.map((difference) => misplacedFinding(boot, difference)),
    late === null ? null : behindKernelFinding(boot, late),
    ...(boot.unexplained === null ? [] : [unexplainedFinding(boot, boot.unexplained)]),
    ...open.map((stage) => openFinding(boot, stage)),
    unknown.length === 0
      ? null
      : active.length === 0
        ? noReference(group, rules.references)
        : uncoveredFinding(boot, unknown),
  ].filter((finding) => finding !== null);
  const broken =
    differing.length + misplaced.length + foreign.length + unseen.length + unknown.length > 0 ||
    late !== null ||
    unquoted !== undefined ||
    boot.unexplained !== null;
  const asReferenced = !broken && boot.judged.length > 0 && isVouched(boot);
  if (!broken) return { findings, asReferenced, references: covering, unknown: null };
  const lacking = {
    differing,
    misplaced,
    foreign,
    unseen,
    late,
    uncovered: uncovered.filter((stage) => unknown.some((one) => one === stage)),
    causes: causes.map(({ stage }) => stage),
    pcrs: [unquoted ?? [], boot.unexplained ?? []].flat(),
  };
  return {
    findings,
    asReferenced,
    references: covering,
    unknown: isEmpty ? unknownWhole(boot, rules) : unknownStages(boot, lacking, rules),
  };
}

const comparedPcrs = pcrsOf(comparedMask);
/** An exporter may have quoted anything: even a PCR that references do not name is informative. */
const toBeQuoted = [...comparedPcrs, ...addOnPcrs, 14];

/**
 * Rules that say of every part of a stage what it may be; what a rule judges by itself (authorities, db, dbx, …) is
 * among no stage's parts. Attack: an initrd that the log calls a command line, of which no rule can say anything.
 */
function coveredByRules({ judged }: VouchedBoot, stage: JudgedStage, { cmdline }: BootRules): boolean {
  const parts = judged.filter((one) => one.stage === stage).map(({ component }) => component);
  if (
    stage !== 'cmdline' ||
    parts.length === 0 ||
    !parts.every(({ pcr, text }) => (text === null ? pcr === 11 : !isCutOff(text)))
  )
    return false;
  return judgesLines(cmdline);
}

/** A boot that does not replay was not compared; that it does not is reported as a problem of the log. */
function isVouched(boot: VouchedBoot): boolean {
  const byValue = (pcr: number) => boot.values.some((one) => one.pcr === pcr);
  return comparedPcrs.every((pcr) => boot.vouches(pcr) || byValue(pcr) || !boot.quotes(pcr));
}

/** The first of each code. */
function oneOfEach(findings: readonly Finding[]): Finding[] {
  return findings.filter(
    ({ code }, index) => findings.findIndex((finding) => finding.code === code) === index,
  );
}
