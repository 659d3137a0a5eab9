import { captureReference } from '../../../policy/boot/capture.ts';
import type { StageDifference } from '../../../policy/boot/compare-stages.ts';
import { comparedBanks } from '../../../policy/boot/compared-pcrs.ts';
import { allDifferences, type EventDifference, type MeasuredEvent } from '../../../policy/boot/event-diff.ts';
import { problemsOf } from '../../../policy/boot/findings.ts';
import { judgeBoot } from '../../../policy/boot/judge-boot.ts';
import { judgeStages } from '../../../policy/boot/judge-stages.ts';
import { judgedStage, stageNames } from '../../../policy/boot/judged-stage.ts';
import { type PreparedReference, prepareReferences } from '../../../policy/boot/reference-set.ts';
import { type BootRules, defaultBootRules } from '../../../policy/boot/rules.ts';
import { vouchedBoot } from '../../../policy/boot/vouched-boot.ts';
import { CaptureError } from '../../../policy/capture-error.ts';
import type { Finding } from '../../../policy/finding.ts';
import type { PcrBank } from '../../../wire/messages.ts';
import { printable } from '../../../wire/printable.ts';
import { valuePcrs } from '../../../wire/value-pcrs.ts';
import type { Reason } from '../../../wire/verdict.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { field, readable, readingOf, type TextFormat, withShortDigests, wrapped } from '../../readable.ts';
import { readLastTrusted, type TrustedBoot } from './last-trusted.ts';
import { type BootSide, isFile, readBootSide } from './side.ts';

export interface BootDiffOptions {
  readonly output: Format;
  readonly utc?: boolean;
}

/**
 * `boot diff A B`, or `boot diff NODE` for its last trusted boot and its latest one: the cause first, then every event that
 * differs; exits 10 where they differ in what counts.
 */
export async function showBootDiff(
  context: CliContext,
  a: string,
  b: string | undefined,
  { output: format, utc }: BootDiffOptions,
): Promise<void> {
  const { io, server, exitWith } = context;
  const good = b === undefined ? await lastTrustedOf(context, a) : null;
  const diff = diffBoots(
    good?.side ?? (await readBootSide(a, io.cwd, server)),
    await readBootSide(b ?? a, io.cwd, server),
    io.now(),
  );
  const textFormat = readingOf(io, utc);
  const head = good === null ? '' : comparedWith(good, textFormat);
  await print(io, format, diff, () => head + page(diff, textFormat));
  exitWith(diff.same ? exit.ok : exit.untrusted);
}

function comparedWith({ side, at, doubt }: TrustedBoot, textFormat: TextFormat): string {
  const though =
    doubt === null
      ? ''
      : `, though ${doubt}: its policy did not require a known boot, so it may be no good one`;
  const text = `Compared with ${side.label}, trusted at ${readable(at, textFormat)}${though}.`;
  return wrapped(text, textFormat.width)
    .map((line) => `${line}\n`)
    .join('');
}

async function lastTrustedOf({ io, server }: CliContext, node: string): Promise<TrustedBoot> {
  if (!isFile(node, io.cwd) && !node.includes('@')) return readLastTrusted(await server(), node);
  throw new CliError(
    `${node} is not the name of a node, so its last trusted boot cannot be looked up`,
    `Name both boots, the good one first:\n  assay boot diff GOOD ${node}`,
    exit.usage,
  );
}

/** How two boots differ; what `assay boot diff -o json` prints. */
export interface BootDiff {
  /** The names of the compared boots, the good one first. */
  readonly boots: readonly [string, string];
  /** Nothing differs that counts. */
  readonly same: boolean;
  /** The causes, the first one first; as a verdict on `b` says them with `a` as the reference. */
  readonly findings: readonly Pick<Reason, 'code' | 'text' | 'expected' | 'actual'>[];
  /** Every event that only one of them has, in the log's order. */
  readonly differences: readonly EventOfDiff[];
}

export interface EventOfDiff {
  readonly pcr: number;
  readonly stage: string;
  readonly type: string;
  readonly expected: string | null;
  readonly actual: string | null;
  /**
   * `cause`: a finding speaks of it; `follows`: it counts, and comes with the cause; `never`: it differs between
   * machines that are alike, and makes no boot another one.
   */
  readonly counts: 'cause' | 'follows' | 'never';
  /** The unusual in the second boot's log, or of the first if only that has it. */
  readonly note: string | null;
}

/** No rule but that the reference must fit, whatever the node is called. */
const group = 'boot-diff';
const rules: BootRules = { ...defaultBootRules, byValue: valuePcrs };

/**
 * Judges boot `b` as if `a` had been captured.
 * @param at milliseconds since the epoch
 * @throws CliError if `a` cannot be captured, or they share no bank better than SHA-1
 */
function diffBoots(a: BootSide, b: BootSide, at: number): BootDiff {
  const bank = sharedBank(a, b);
  const { active } = prepareReferences(group, rules, [captured(a, at)]);
  const { differing, findings: all } = judge(b, active);
  // What is wrong with the first boot already is no difference.
  const own = new Set(judge(a, active).findings.map(({ code }) => code));
  const findings = all.filter(({ code }) => !own.has(code));
  const cited = new Set(findings.map(({ evidence }) => evidence?.position));
  const differences = allDifferences(a.boot.log.events, b.boot.log.events, pcrs, bank).map(
    (one): EventOfDiff => ({
      pcr: one.pcr,
      stage: one.stage,
      type: (one.actual ?? one.expected)?.type ?? '',
      expected: one.expected && shown(one.expected, bank),
      actual: one.actual && shown(one.actual, bank),
      counts: !countsIn(one, differing, bank) ? 'never' : cited.has(placeOf(one)) ? 'cause' : 'follows',
      note: one.actual === null ? noteOn(a, one.expected) : noteOn(b, one.actual),
    }),
  );
  return {
    boots: [a.label, b.label],
    same: findings.length === 0,
    findings: findings.map(({ code, text, expected, actual }) => ({ code, text, expected, actual })),
    differences,
  };
}

interface JudgedDifference {
  readonly findings: readonly Finding[];
  readonly differing: readonly StageDifference[];
}

function judge({ label, banks, boot }: BootSide, active: readonly PreparedReference[]): JudgedDifference {
  const vouched = vouchedBoot(boot, banks, rules, active, 'all');
  const { findings } = judgeBoot(vouched, banks, {
    group,
    rules,
    active,
    revocations: null,
    contents: null,
    node: label,
  });
  const { differing, misplaced } = judgeStages(vouched, active, rules, label);
  return {
    findings: [...problemsOf(vouched.digest, vouched.told, banks), ...findings],
    differing: [...differing, ...misplaced],
  };
}

/** All but PCR 10, which is the running system's. */
const pcrs: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15];

function captured({ label, ...side }: BootSide, at: number) {
  try {
    return captureReference(side, {
      name: label,
      group,
      state: 'active',
      by: 'boot diff',
      node: label,
      at,
      byValue: rules.byValue,
    });
  } catch (cause) {
    if (!(cause instanceof CaptureError)) throw cause;
    throw new CliError(
      `nothing can be compared with ${label}: ${cause.message}`,
      'Name the good boot first.',
      exit.error,
      cause,
    );
  }
}

function sharedBank(a: BootSide, b: BootSide): PcrBank {
  const has = ({ banks }: BootSide, bank: PcrBank) => banks.some((quoted) => quoted.bank === bank);
  const bank = comparedBanks.find((one) => has(a, one) && has(b, one));
  if (bank !== undefined) return bank;
  throw new CliError(
    `${a.label} and ${b.label} share no PCR bank other than SHA-1`,
    'In the firmware setup, switch on the SHA-256 bank: SHA-1 alone proves nothing.',
  );
}

/** It is among what the stages differ by: not masked away, not in a PCR that is never compared. */
function countsIn(
  { pcr, expected, actual }: EventDifference,
  differing: readonly StageDifference[],
  bank: PcrBank,
): boolean {
  return differing.some(
    ({ unknown, missing, misplaced }) =>
      unknown.some(({ event }) => event === actual?.index) ||
      missing.some((one) => one.pcr === pcr && one.digests[bank] === expected?.digests[bank]) ||
      (actual !== null && expected !== null && misplaced.some((one) => one.pcr === pcr)),
  );
}

function noteOn({ boot: { state } }: BootSide, on: MeasuredEvent | null): string | null {
  return state.notes.find(({ event }) => event === on?.index)?.text ?? null;
}

/** As a finding's evidence names it. */
function placeOf({ pcr, actual }: EventDifference): string {
  return actual === null ? `PCR ${pcr}` : `event ${actual.index}`;
}

/** By the strongest bank that both have, as `why` does. */
function shown({ describes, type, digests }: MeasuredEvent, bank: PcrBank): string {
  return `${describes || type} ${bank}:${digests[bank]}`;
}

/**
 * The stages that changed together with the cause, by name, in the log's order. A kernel or loader that is no cause
 * wraps or announces one, and is nothing else that changed.
 */
function followingStages({ differences }: BootDiff): readonly string[] {
  const stagesOf = (counts: EventOfDiff['counts']) =>
    new Set(
      differences.filter((one) => one.counts === counts).map(({ stage, pcr }) => judgedStage(stage, pcr)),
    );
  const causes = stagesOf('cause');
  return [...stagesOf('follows')]
    .filter((stage) => !causes.has(stage) && stage !== 'kernel' && stage !== 'loader')
    .map((stage) => stageNames[stage]);
}

function page(diff: BootDiff, textFormat: TextFormat): string {
  const { same, findings, differences } = diff;
  const following = followingStages(diff);
  const prose = [
    ...(same
      ? ['Both boots are the same in everything that is compared.']
      : findings.map(({ text }) => text)),
    ...(following.length === 0 ? [] : [`With it changed: ${following.join(', ')}.`]),
  ].flatMap((text) => wrapped(readable(text, textFormat), textFormat.width));
  const events = differences.map((one) => eventLines(one, textFormat));
  return [...prose.map((line) => `${line}\n`), ...events].join('');
}

const countsText = { cause: 'the cause', follows: 'follows', never: 'never counts' } as const;

function eventLines(
  { pcr, stage, type, expected, actual, counts, note }: EventOfDiff,
  textFormat: TextFormat,
): string {
  const side = (mark: string, text: string | null) =>
    field(`  ${mark}`, withShortDigests(printable(text ?? 'nothing')), 4, textFormat);
  return [
    `${countsText[counts]}: PCR ${pcr}, ${printable(`${stage}, ${type}`)}\n`,
    side('-', expected),
    side('+', actual),
    note === null ? '' : field('  note', printable(note), 8, textFormat),
  ].join('');
}
