/**
 * One aspect: rules, judge, doubts, advice and memory of a boot. `signed-change` finds what is signed,
 * `loader-commands` and `kernel-version` say what counts of GRUB's commands, `named-masks` of systems with two
 * places, and `reference-reach` what a revocation reaches.
 *
 * `by-value` compares PCRs of firmware that does not log all, and `expected-change` excuses a change that was
 * announced.
 */

import type { Reference } from '../../formats/reference.ts';
import type { ReplayedBoot } from '../../verify/measured-boot.ts';
import type { Proven } from '../../verify/proven.ts';
import type { ReadInitrd } from '../../verify/read-initrd.ts';
import type { PartName } from '../../wire/evidence.ts';
import { type PcrValues, pcrsOf, pcrValue } from '../../wire/pcr-values.ts';
import type { ReasonCode } from '../../wire/reasons.ts';
import type { Aspect, AspectJudgement, Judge, JudgedNode, PreparedAspect } from '../aspect.ts';
import type { Finding } from '../finding.ts';
import { lastExpiry } from '../last-expiry.ts';
import { type Keyed, keyed, remembering } from '../remembering.ts';
import type { UnknownThings } from '../unknown.ts';
import { advice, adviceByExpected } from './advice.ts';
import {
  type AggregateClaim,
  type AggregateOutcome,
  claimOf,
  isReplayed,
  isShown,
  judgeAggregate,
  nextAggregate,
} from './aggregate.ts';
import { unmeasuredMask } from './compared-pcrs.ts';
import { demandingReferences } from './demanded-proof.ts';
import { contradictionsIn, doubtsIn } from './doubts.ts';
import { expectingChanges } from './expected-change.ts';
import {
  bootLogGone,
  deniedTpmFirmware,
  judgedWithoutLog,
  noBootLog,
  noLogForRules,
  noLogToJudge,
  noReference,
  problemsOf,
  revokedReference,
} from './findings.ts';
import { expectedImage } from './initrd/findings.ts';
import { InitrdJudge } from './initrd/judge-contents.ts';
import { type BootJudgement, judgeBoot } from './judge-boot.ts';
import { kexecFinding, kexecInList } from './kexec.ts';
import { explainMismatch } from './mismatch.ts';
import { withNotes } from './noted.ts';
import { idleReferences, withOutOfForce } from './out-of-force.ts';
import {
  type PreparedReference,
  prepareReferences,
  preparer,
  type ReferenceSet,
  referenceMatches,
} from './reference-set.ts';
import { bootsLike, revokedIn } from './revoked.ts';
import { type BootRules, goesByNode, needsLog } from './rules.ts';
import { bootRules, bootSchema } from './schema.ts';
import { uncapped } from './uncapped.ts';
import { type UnknownBoot, unknownValues } from './unknown.ts';
import { vouchedBoot } from './vouched-boot.ts';

/** The boot of a machine, from its firmware to the kernel's command line. */
export const boot: Aspect<'boot', BootRules> = {
  name: 'boot',
  schema: bootSchema,
  parts: ['boot', 'userSpace', 'ima'],
  readsHost: true,
  referenceKind: 'boot',
  alsoReads: ['runtime'],
  advice,
  adviceByExpected,
  rules: bootRules,
  named: ({ references }) => references,
  contradictions: contradictionsIn,
  doubts: doubtsIn,
  prepare(rules, prepared) {
    const { group, references: all } = prepared;
    // Announced are boots, never files: what is in an initrd is judged once.
    const initrds = rules.scope.initrd === 'contents' ? new InitrdJudge(all, group.name, rules) : null;
    const ready = preparer(rules.masks);
    const judgeBy = (references: readonly Reference[]) =>
      judgeOf(rules, { ...prepared, references }, initrds, ready);
    return expectingChanges(judgeBy(all), rules, prepared, judgeBy);
  },
};

function judgeOf(
  rules: BootRules,
  { group, references, remembers }: PreparedAspect,
  initrds: InitrdJudge | null,
  makeReady: ReturnType<typeof preparer>,
): Judge {
  const ready = prepare(rules, group, references, initrds, makeReady);
  const judged = remembering(
    (proven: Proven, node: JudgedNode, claim: AggregateClaim, at: number) =>
      madeFrom(proven, node, claim, ready, at),
    (made) => judgeMade(made, ready),
    { slot: slotOf, most: remembers ? mostRemembered : 0 },
  );
  return {
    judge(proven, node, at) {
      const claim = claimOf(proven, node);
      const { judgement: known, outcome } = judged(proven, node, claim, at);
      const next = nextAggregate(proven, node, claim, outcome);
      const judgement = next === undefined ? known : { ...known, next };
      const inTime = findingsInTime(node, claim);
      return inTime.length === 0 ? judgement : { ...judgement, findings: [...inTime, ...known.findings] };
    },
    ...(initrds !== null && {
      *ahead({ boot: measured }: Proven, _node: JudgedNode, at: number) {
        if (measured !== null) yield* initrds.ahead(measured.initrds, at);
      },
    }),
  };
}

/** Where the kernel is beside its TPM: of a kexec it is reported once, by whatever shows it. */
function findingsInTime({ sequence }: JudgedNode, { again }: AggregateClaim): readonly Finding[] {
  if (sequence.findings.length === 0 && !again) return none;
  const inTime = sequence.findings.filter(({ aspect }) => aspect === 'boot');
  return again && !inTime.some(({ code }) => code === kexecInList.code) ? [kexecInList, ...inTime] : inTime;
}

const none: readonly Finding[] = [];

/** Boots whose judgement is remembered, by group: those of a fleet and some that come and go. */
const mostRemembered = 8192;

interface PreparedBoot {
  /** Name of the group. */
  readonly group: string;
  readonly rules: BootRules;
  readonly set: ReferenceSet;
  readonly idle: ReturnType<typeof idleReferences>;
  /** When the last active reference expired before a moment. */
  readonly expiredAt: (at: number) => number;
  /** PCRs besides the measured ones that references name. */
  readonly unmeasured: readonly number[];
  /** Versions of TPM firmware. */
  readonly denied: ReadonlySet<string>;
  /** Digests that the reference named by the rule `dbx` revokes; null if it says nothing. */
  readonly revocations: readonly string[] | null;
  /** Null if the policy does not go by what is in initrds. */
  readonly initrds: InitrdJudge | null;
}

function prepare(
  rules: BootRules,
  group: PreparedAspect['group'],
  all: readonly Reference[],
  initrds: InitrdJudge | null,
  makeReady: ReturnType<typeof preparer>,
): PreparedBoot {
  const references = all.filter(({ kind }) => kind === 'boot');
  const set = prepareReferences(group.name, rules, references, makeReady);
  return {
    group: group.name,
    rules,
    set,
    idle: idleReferences(group.name, rules, references, makeReady),
    expiredAt: lastExpiry([...set.active.map(({ expires }) => expires), ...(initrds?.expiries ?? [])]),
    unmeasured: unmeasuredIn(set),
    denied: new Set(rules.tpmFirmwareDeny),
    revocations: references.find((one) => one.name === rules.dbx.reference)?.revocations ?? null,
    initrds,
  };
}

function unmeasuredIn({ active, revoked }: ReferenceSet): readonly number[] {
  let named = 0;
  for (const { banks } of [...active, ...revoked]) for (const { mask } of banks) named |= mask;
  return pcrsOf(named & unmeasuredMask);
}

/** All that a judgement is made from besides rules and references. */
interface BootInputs extends Pick<AggregateClaim, 'shown' | 'gave' | 'cause'> {
  /** SHA-256 of the measured PCRs, all but 10: what the kernel found in them when it started is `shown`. */
  readonly measured: string;
  /** PCRs that are not measured ones count where references name them. By its logs it is known what of PCR 15 is the cap. */
  readonly quoted: Keyed<Pick<Proven, 'banks' | 'cap'>>;
  /** By its logs, the files of its loader and what the node says of its command line, beside the measured PCRs. */
  readonly boot: Keyed<ReplayedBoot | null>;
  readonly sentBootLog: boolean;
  /** As the node says; null if it says nothing of it. */
  readonly kexecLoadDisabled: boolean | null;
  /** The TPM's firmware, where the policy denies it. */
  readonly denied: string | null;
  /** Where a reference may be of one node alone, or count for one: its name. */
  readonly node: string | null;
  /** Images whose files count, which are known here, and why the others are not. */
  readonly initrds: Keyed<readonly ReadInitrd[]>;
  readonly initrdWait: string | null;
  /** Milliseconds since the epoch: which references have expired. */
  readonly expiredBy: number;
}

function madeFrom(
  proven: Proven,
  { name, past }: JudgedNode,
  { shown, gave, cause }: AggregateClaim,
  ready: PreparedBoot,
  at: number,
): BootInputs {
  const { boot, facts, firmwareVersion, banks, measuredDigest } = proven;
  const hasUnseen = boot !== null && boot.state.unexplained.length > 0;
  const read = ready.initrds === null || boot === null ? noInitrds : boot.initrds;
  const commandLine = facts?.host?.commandLine ?? null;
  return {
    measured: measuredDigest,
    quoted: keyed(ready.unmeasured.length === 0 ? nothingElse : [valuesOf(ready.unmeasured, banks)], proven),
    boot: keyed(
      boot === null ? nothingElse : [boot.digest, boot.userSpaceDigest, boot.filesDigest, commandLine],
      boot,
    ),
    sentBootLog: past.sentParts.includes('boot'),
    kexecLoadDisabled: facts?.host?.kexecLoadDisabled ?? null,
    denied: ready.denied.has(firmwareVersion) ? firmwareVersion : null,
    node: goesByNode(ready.rules) || hasUnseen ? name : null,
    initrds:
      read.length === 0
        ? knowsNone
        : keyed(
            read.map(({ image }) => image.sha256),
            read,
          ),
    initrdWait: ready.initrds === null ? null : (past.initrdWait ?? null),
    shown,
    gave,
    cause,
    expiredBy: ready.expiredAt(at),
  };
}

const nothingElse: readonly string[] = [];
const noInitrds: readonly ReadInitrd[] = [];
const knowsNone = keyed([], noInitrds);

/** Which PCRs of which bank are quoted stands in the measured digest. */
function valuesOf(pcrs: readonly number[], banks: readonly PcrValues[]): string {
  return banks.flatMap((bank) => pcrs.map((pcr) => pcrValue(bank, pcr)?.toString('hex') ?? '')).join('');
}

/** Nodes that booted the same share a judgement, unless the policy goes by the node. */
function slotOf({ measured, node, shown, initrds }: BootInputs): string {
  // Of two nodes with the same PCRs one may have no list; two aggregates of the same PCRs are an attack.
  const booted = isReplayed({ shown }) ? measured : `${measured} ${shown}`;
  const read = initrds.key.length === 0 ? booted : `${booted} ${initrds.key.join(' ')}`;
  return node === null ? read : `${node} ${read}`;
}

function judgeMade(
  made: BootInputs,
  ready: PreparedBoot,
): { readonly judgement: AspectJudgement; readonly outcome: AggregateOutcome } {
  const active = ready.set.active.filter(({ expires }) => made.expiredBy < expires);
  const measured = made.boot.value;
  const banks = uncapped(made.quoted.value);
  const judged =
    measured === null
      ? judgeValues(ready, active, banks, made.sentBootLog)
      : judgeLog(ready, active, measured, banks, made);
  const { findings, asReferenced, references, unknown, inInitrds } = judged;
  const others = [
    made.denied === null ? null : deniedTpmFirmware(made.denied),
    made.kexecLoadDisabled === false ? kexecFinding(measured?.state ?? null) : null,
  ].filter((finding) => finding !== null);
  const demand = () => demandOf(ready, active, measured, banks);
  const { outcome, finding: again } = judgeAggregate(made, banks, measured, demand);
  const isWorthTelling = again !== null && (again.severity !== 'info' || asReferenced);
  const enough: readonly PartName[] = isShown(made) ? shown : [];
  const besides = asReferenced
    ? { findings, knownBy: null }
    : withOutOfForceNote(judged, ready, active, banks, made);
  const all = [...others, ...(isWorthTelling ? [again] : []), ...besides.findings];
  const shows = unknown === null ? inInitrds : asUnknown(unknown, besides.knownBy);
  const isByValues = measured === null && !asReferenced;
  return {
    judgement: {
      findings: all,
      affirmed: asReferenced,
      references,
      source: 'tpm',
      takesBack: isByValues
        ? { only: references.length > 0 ? ['tpm_firmware', 'pcr_mismatch'] : ['tpm_firmware'] }
        : { allBut: leftOpen(findings, made, outcome) },
      enough,
      ...(shows !== null && { unknown: shows }),
    },
    outcome,
  };
}

const shown: readonly PartName[] = ['ima'];

/** Findings from something that this answer does not show. */
function leftOpen(
  findings: readonly Finding[],
  { kexecLoadDisabled, boot }: BootInputs,
  outcome: AggregateOutcome,
): readonly ReasonCode[] {
  const mayKexec = kexecLoadDisabled === null && kexecFinding(boot.value?.state ?? null) !== null;
  const ofInitrds = ['initrd_unknown', 'revoked_reference'] as const;
  return [
    ...(findings.some(({ expected }) => expected === expectedImage) ? ofInitrds : []),
    ...(outcome === 'missing' ? (['boot_remeasured'] as const) : []),
    ...(mayKexec ? (['kexec_possible'] as const) : []),
  ];
}

/** Who demands that boot_aggregate proves the boot, as a sentence; null: nobody does. */
function demandOf(
  { rules }: PreparedBoot,
  active: readonly PreparedReference[],
  measured: ReplayedBoot | null,
  banks: readonly PcrValues[],
): string | null {
  if (rules.aggregate === 'required') return 'The policy demands it (boot.aggregate).';
  if (!active.some(({ reference }) => reference.aggregate === 'required')) return null;
  const vouched = measured === null ? null : vouchedBoot(measured, banks, rules, active);
  const [name, ...others] = demandingReferences(vouched, banks, active, rules);
  if (name === undefined) return null;
  return others.length === 0
    ? `Reference ${name} demands it: the same kernel has given it with the same command line.`
    : `References ${[name, ...others].join(' and ')} demand it: the same kernel has given it, and so has one with the same command line.`;
}

function asUnknown({ stages: _, ...unknown }: UnknownBoot, knownBy: string | null): UnknownThings {
  return { ...unknown, knownBy };
}

/** Whoever is woken by a boot that was known yesterday finds who made it unknown. */
function withOutOfForceNote(
  { findings, unknown }: BootJudgement,
  { set, idle, rules }: PreparedBoot,
  active: readonly PreparedReference[],
  banks: readonly PcrValues[],
  made: BootInputs,
): ReturnType<typeof withOutOfForce> {
  const measured = made.boot.value;
  const node = made.node ?? '';
  const expired = set.active.filter((reference) => !active.includes(reference));
  const outOfForce = [...expired, ...idle()];
  if (outOfForce.length === 0) return { findings, knownBy: null };
  const bootAs = (known: readonly PreparedReference[]) =>
    measured === null ? null : vouchedBoot(measured, banks, rules, known);
  const bootWith = (reference: PreparedReference) => bootAs([...active, reference]);
  const lacking = unknown && { unknown, rules, node, active, bootWith };
  return withOutOfForce(findings, outOfForce, bootAs([...active, ...outOfForce]), banks, lacking);
}

function judgeLog(
  { group, rules, set, revocations, initrds }: PreparedBoot,
  active: readonly PreparedReference[],
  measured: ReplayedBoot,
  banks: readonly PcrValues[],
  { node, initrds: read, initrdWait, expiredBy }: BootInputs,
): BootJudgement {
  const vouched = vouchedBoot(measured, banks, rules, active);
  const revoked = revokedIn(set, vouched, banks);
  const contents = initrds?.judge(vouched, read.value, initrdWait, expiredBy) ?? null;
  const judged = judgeBoot(vouched, banks, {
    group,
    rules,
    active,
    revocations,
    contents,
    node: node ?? '',
  });
  const { findings } = judged;
  const told = (some: readonly Finding[]) =>
    withNotes([...problemsOf(vouched.digest, vouched.told, banks), ...some], measured.state.notes);
  if (revoked === null) return { ...judged, findings: told(findings) };
  const others = findings.filter(({ code }) => code !== 'no_reference');
  const alike = active.filter((reference) => bootsLike(reference, vouched, banks));
  return {
    findings: told([revokedReference(revoked, measured, alike), ...others]),
    asReferenced: false,
    references: [],
    unknown: judged.unknown,
    inInitrds: judged.inInitrds,
  };
}

/** Without a log there are the values of PCRs, and references that name some. */
function judgeValues(
  { group, rules, set }: PreparedBoot,
  active: readonly PreparedReference[],
  banks: readonly PcrValues[],
  sentBootLog: boolean,
): BootJudgement {
  const findings: Finding[] = sentBootLog ? [bootLogGone] : [];
  const byValues = active.filter(({ strict }) => strict);
  const revoked = revokedIn(set, null, banks);
  const match = byValues.find((reference) => referenceMatches(reference, banks));
  const ruled = needsLog(rules);
  const enough = match !== undefined && !ruled && rules.withoutLog === 'pcrs';
  const alike = () => byValues.filter((reference) => referenceMatches(reference, banks));
  if (revoked !== null) findings.push(revokedReference(revoked, null, alike()));
  else if (active.length === 0) findings.push(noReference(group, rules.references));
  else if (match === undefined && byValues.length > 0) findings.push(explainMismatch(byValues, banks, null));
  else if (!sentBootLog)
    findings.push(
      enough ? judgedWithoutLog : match === undefined ? noLogToJudge : ruled ? noLogForRules : noBootLog,
    );
  return {
    findings,
    asReferenced: enough && !sentBootLog && revoked === null,
    references: match === undefined ? [] : [match.reference.name],
    unknown: match === undefined ? unknownValues(banks) : null,
    inInitrds: null,
  };
}
