import type { AggregateProblem, BootAggregate } from '../../verify/ima/boot-aggregate.ts';
import type { ReplayedBoot } from '../../verify/measured-boot.ts';
import type { Proven } from '../../verify/proven.ts';
import { bankBytes } from '../../wire/messages.ts';
import { bootAggregateOf, type PcrValues, pcrOffset } from '../../wire/pcr-values.ts';
import type { JudgedNode } from '../aspect.ts';
import type { Finding } from '../finding.ts';

/** The memory of a node, so that its list is read once a boot. A PCR cannot be set back without a reset. */
interface RememberedAggregate {
  readonly resetCount: number;
  readonly restartCount: number;
  readonly bootId: string;
  /** The proof of this boot. */
  readonly shown: BootAggregate | AggregateProblem;
  /** In this boot or an earlier one a list said whether something was measured again: leaving it out hides that. */
  readonly gave: boolean;
  /** Since this reset kexec started another kernel. */
  readonly again?: true;
}

/** The kernel's word on this boot, and the meaning of its absence. */
export interface AggregateClaim {
  /** `none`: no list came, neither now nor before in this boot; `kexec`: another kernel has a list of its own. */
  readonly shown: BootAggregate | AggregateProblem | 'none' | 'kexec';
  /** The node has given this proof before. */
  readonly gave: boolean;
  /** Why its collector gave none, by the node's word; "" where it says nothing. */
  readonly cause: string;
  /** A list with a second boot_aggregate was proven since this reset: kexec started another kernel. */
  readonly again: boolean;
}

/** `covered`: PCRs 0 to 9 are as they were when the kernel started; `differs`: they are not; `missing`: nobody can say. */
export type AggregateOutcome = 'covered' | 'differs' | 'missing';

export function claimOf(proven: Proven, { past, sequence }: JudgedNode): AggregateClaim {
  const { clock, facts, ima } = proven;
  const known = rememberedIn(past.memory.boot);
  const cause = facts?.unavailable?.ima ?? '';
  const gave = known?.gave ?? false;
  const shown = shownIn(proven, known);
  const isSecond = ima !== null && 'head' in ima && ima.aggregates.length > 1;
  const again = isSecond || (known?.again === true && isOfReset(known, clock));
  if (shown !== 'not_replayed') return { shown, gave, cause, again };
  const isKexec = sequence.findings.some(({ code }) => code === 'kexec_detected');
  return { shown: isKexec ? 'kexec' : shown, gave, cause, again };
}

/** To be remembered of the node; undefined if that is what is remembered already, or of no boot. */
export function nextAggregate(
  { clock: { resetCount, restartCount }, facts }: Proven,
  { past }: JudgedNode,
  { shown, gave, again }: AggregateClaim,
  outcome: AggregateOutcome,
): RememberedAggregate | undefined {
  const bootId = facts?.bootId;
  if (bootId === undefined || shown === 'none' || shown === 'kexec') return undefined;
  const next = {
    resetCount,
    restartCount,
    bootId,
    shown,
    gave: gave || outcome !== 'missing',
    ...(again && { again }),
  };
  const known = rememberedIn(past.memory.boot);
  const isKnown =
    known !== null &&
    isOfBoot(known, next, bootId) &&
    known.shown === shown &&
    known.gave === next.gave &&
    known.again === next.again;
  return isKnown ? undefined : next;
}

/** Whether a list led to PCR 10. */
export function isReplayed({ shown }: Pick<AggregateClaim, 'shown'>): boolean {
  return isAggregate(shown);
}

/** Whether a list of this boot was seen, whatever it was worth: its start stays as it is, so that it need not come again. */
export function isShown({ shown }: Pick<AggregateClaim, 'shown'>): boolean {
  return shown !== 'none';
}

/**
 * True if this boot gave the proof, in this answer or in an earlier one that is remembered.
 * @param memory of the node, since that answer or a later one
 */
export function provesStart(proven: Proven, memory: JudgedNode['past']['memory']): boolean {
  const shown = shownIn(proven, rememberedIn(memory.boot));
  const claim = { shown, gave: false, cause: '' };
  return judgeAggregate(claim, proven.banks, proven.boot, () => null).outcome === 'covered';
}

/** True if the proof is one of an earlier answer, which whoever exported a bundle says that there was. */
export function isRemembered({ aggregate }: Proven, memory: JudgedNode['past']['memory']): boolean {
  return aggregate === null && rememberedIn(memory.boot) !== null;
}

export function isMissingAggregate({ code, expected }: Pick<Finding, 'code' | 'expected'>): boolean {
  return code === 'facts_unavailable' && expected === expectedAggregate;
}

export interface AggregateJudgement {
  readonly outcome: AggregateOutcome;
  /** The finding; a proof that is missing and that nobody demands is worth reporting only for a boot that is good. */
  readonly finding: Finding | null;
}

/** @param demand a sentence on who demands the proof, asked where it is missing; null: nobody does */
export function judgeAggregate(
  { shown, gave, cause }: Omit<AggregateClaim, 'again'>,
  banks: readonly PcrValues[],
  boot: ReplayedBoot | null,
  demand: () => string | null,
): AggregateJudgement {
  if (shown === 'not_replayed') return { outcome: 'differs', finding: notReplayed };
  if (!isAggregate(shown)) return missing(said[shown], gave, demand(), cause);
  const quoted = banks.find(({ bank }) => shown.startsWith(`${bank}:`));
  // From 5.8 on, and never with SHA-1, with which a kernel of any version ends at PCR 7.
  const to9 =
    quoted === undefined || quoted.bank === 'sha1' ? null : bootAggregateOf(asKernelFound(quoted, boot), 9);
  if (shown === to9) return { outcome: 'covered', finding: null };
  const to7 = quoted === undefined ? null : bootAggregateOf(quoted, 7);
  if (shown === to7) return missing(said.to7, gave, demand(), cause);
  const wanted = quoted?.bank === 'sha1' ? to7 : to9;
  if (wanted === null) return missing(said.bank, gave, demand(), cause);
  return { outcome: 'differs', finding: remeasured(wanted, shown) };
}

/**
 * systemd from 259 on extends PCR 9 once the kernel runs, with texts that `verify` knows as harmless: before them it was as
 * the firmware's log leaves it.
 */
function asKernelFound(quoted: PcrValues, boot: ReplayedBoot | null): PcrValues {
  const at = pcrOffset(quoted, 9);
  if (at < 0 || !boot?.userSpace?.some(({ pcr }) => pcr === 9)) return quoted;
  const values = Buffer.from(quoted.values);
  values.fill(0, at, at + bankBytes[quoted.bank]);
  values.write(boot.log.banks[quoted.bank]?.[9] ?? '', at, 'hex');
  return { bank: quoted.bank, mask: quoted.mask, values };
}

function isAggregate(shown: string | null): shown is BootAggregate {
  return shown?.includes(':') ?? false;
}

function shownIn(
  { aggregate, clock, facts }: Proven,
  known: RememberedAggregate | null,
): BootAggregate | AggregateProblem | 'none' {
  const before = known !== null && isOfBoot(known, clock, facts?.bootId) ? known.shown : null;
  return tellsMore(aggregate, before) ?? 'none';
}

/** A list that led to PCR 10, now or before in this boot, tells most; then one that leads elsewhere. */
function tellsMore(
  now: RememberedAggregate['shown'] | null,
  before: RememberedAggregate['shown'] | null,
): RememberedAggregate['shown'] | null {
  if (before === null || isAggregate(now)) return now;
  return now === null || isAggregate(before) || before === 'not_replayed' ? before : now;
}

function isOfBoot(
  known: RememberedAggregate,
  clock: Pick<RememberedAggregate, 'resetCount' | 'restartCount'>,
  bootId: string | undefined,
): boolean {
  return isOfReset(known, clock) && known.bootId === bootId;
}

function isOfReset(
  known: RememberedAggregate,
  clock: Pick<RememberedAggregate, 'resetCount' | 'restartCount'>,
): boolean {
  return known.resetCount === clock.resetCount && known.restartCount === clock.restartCount;
}

/** Only this file writes it; a bundle may hold anything. By hand, since each answer of each node reads it. */
function rememberedIn(memory: unknown): RememberedAggregate | null {
  if (typeof memory !== 'object' || memory === null) return null;
  if (!('resetCount' in memory && 'restartCount' in memory && 'bootId' in memory)) return null;
  if (!('shown' in memory && 'gave' in memory)) return null;
  const { resetCount, restartCount, bootId, shown, gave } = memory;
  if (typeof resetCount !== 'number' || typeof restartCount !== 'number') return null;
  if (typeof bootId !== 'string' || typeof shown !== 'string' || typeof gave !== 'boolean') return null;
  const known = isAggregate(shown) ? shown : problems.find((problem) => problem === shown);
  if (known === undefined) return null;
  const again = 'again' in memory && memory.again === true;
  return { resetCount, restartCount, bootId, shown: known, gave, ...(again && { again }) };
}

const problems = [
  'unquoted',
  'unextended',
  'unreadable',
  'no_aggregate',
  'not_replayed',
] as const satisfies readonly AggregateProblem[];

/** The expectation of a boot that must prove it. */
export const expectedAggregate =
  'boot_aggregate over PCRs 0 to 9, in an IMA list that leads to the quoted PCR 10';

function remeasured(wanted: string, shown: string): Finding {
  return {
    code: 'boot_remeasured',
    aspect: 'boot',
    source: 'tpm',
    expected: wanted,
    actual: shown,
    text: 'PCRs 0 to 9 have changed since the kernel started (boot_aggregate): something was extended afterwards, so the log shows another boot than the one that runs.',
    evidence: null,
  };
}

const notReplayed: Finding = {
  code: 'boot_remeasured',
  aspect: 'boot',
  source: 'tpm',
  expected: expectedAggregate,
  actual: 'a list that does not match it',
  text: 'PCR 10 does not match the IMA list that the node shows. Either the node hides what the kernel found when it started (boot_aggregate), or kexec started another kernel.',
  evidence: null,
};

const said: Readonly<Record<Exclude<AggregateClaim['shown'], BootAggregate | 'not_replayed'>, string>> & {
  readonly to7: string;
  readonly bank: string;
} = {
  none: 'the node sent no IMA list',
  kexec: 'kexec started another kernel, and its list does not match PCR 10',
  unquoted: 'PCR 10 was not quoted',
  unextended: 'PCR 10 is zero: the driver of the TPM started after IMA, or the kernel has no IMA',
  unreadable: 'the node sent something that is not an IMA list',
  no_aggregate: 'the first entry of the IMA list is not a boot_aggregate with a digest',
  to7: 'the boot_aggregate of the kernel covers only PCRs 0 to 7: the kernel is older than 5.8, or hashes with SHA-1',
  bank: 'boot_aggregate uses a bank that was not quoted whole',
};

function missing(why: string, gave: boolean, demand: string | null, cause: string): AggregateJudgement {
  const before = gave ? ' The node has given this proof before.' : '';
  const by = demand === null ? '' : ` ${demand}`;
  return {
    outcome: 'missing',
    finding: {
      code: 'facts_unavailable',
      aspect: 'boot',
      source: 'host',
      ...(!gave && demand === null && { severity: 'info' as const }),
      expected: expectedAggregate,
      actual: cause === '' ? why : cause,
      text: `There is no proof that nothing was measured again after the kernel had started: ${why}.${before}${by}`,
      evidence: null,
    },
  };
}
