import type { Proven } from '../verify/proven.ts';
import { type HeldCode, heldIn, type ReasonCode } from '../wire/reasons.ts';
import type { Finding } from './finding.ts';

/** The position of a TPM and its kernel in time, by one proven quote. TPM 2.0 Part 1 r1.59, section 36. */
export interface ClockReading {
  readonly resetCount: number;
  readonly restartCount: number;
  /** Milliseconds that the TPM has been powered. */
  readonly clock: bigint;
  /** 16 hex digits; null if it is not known. */
  readonly firmwareVersion: string | null;
  /** As the kernel says; null if it is not known. */
  readonly bootId: string | null;
}

/** The memory of a TPM between two answers. */
export interface Sequence extends ClockReading {
  /** The kernel that was seen first since the TPM was last reset or restarted: the one that the boot log is of. */
  readonly firstBootId: string | null;
  /** `seen`: the clock went back in this reset; `passed`: after that it went beyond what was seen before. */
  readonly rewind: 'none' | 'seen' | 'passed';
  /** The firmware that this one took the place of; null if there was none, or a person has approved the key since. */
  readonly replaced: ReplacedFirmware | null;
  /** Stays until a person approves this key again; null if nothing is held against it. */
  readonly held: HeldCode | null;
}

export interface ReplacedFirmware {
  /** 16 hex digits. */
  readonly version: string;
  /** The reset count of the boot in which the other firmware was seen first. */
  readonly resetCount: number;
}

/** Where the TPM and the kernel of a piece of evidence are in time. */
export function sightingOf({ clock, firmwareVersion, facts }: Proven): ClockReading {
  return {
    resetCount: clock.resetCount,
    restartCount: clock.restartCount,
    clock: clock.clock,
    firmwareVersion,
    bootId: facts?.bootId ?? null,
  };
}

export interface SequenceJudgement {
  readonly findings: readonly Finding[];
  /** Other firmware that an earlier boot had already: reported where a policy says what that weighs; null if there is none. */
  readonly replaced: Finding | null;
  /** To be remembered for the next reading. */
  readonly next: Sequence;
  /** The PCRs started over since the previous reading. */
  readonly begun: 'rebooted' | 'resumed' | null;
}

/**
 * The clock's copy in NV is at most this old (TPM_PT_CLOCK_UPDATE, at most 2^22 ms): so much may be lost with the
 * power. TPM 2.0 Part 1 r1.59, section 36.3.2.
 */
const lostWithPower = 1n << 22n;

/**
 * Compares a reading with the previous one: reboot, suspend, kexec, rollback, clone, firmware.
 * @param concurrent the answer is to a challenge older than the previous reading: its clock may be older, too
 */
export function judgeSequence(
  past: Sequence | null,
  now: ClockReading,
  concurrent = false,
): SequenceJudgement {
  if (past === null)
    return {
      findings: [],
      replaced: null,
      next: { ...now, firstBootId: now.bootId, rewind: 'none', replaced: null, held: null },
      begun: null,
    };
  const begun = beginning(past, now);
  const found = begun === null ? within(past, now, concurrent) : between(past, now);
  const firmware = replacedBy(past, now);
  const isNew = firmware?.resetCount === now.resetCount;
  if (firmware !== null && isNew) found.push(firmwareChanged(firmware.version, now.firmwareVersion));
  const held = past.held ?? found.map(({ code }) => heldIn(code)).find((code) => code !== null) ?? null;
  const findings =
    held === null || found.some(({ code }) => code === held) ? found : [stillHeld(held), ...found];
  const replaced = firmware === null || isNew ? null : firmwareChanged(firmware.version, now.firmwareVersion);
  const next = remembered(past, now, { anew: begun !== null, concurrent });
  return { findings, replaced, next: { ...next, replaced: firmware, held }, begun };
}

/** Each change is reported, also the one back: a downgrade returns to what was good once. */
function replacedBy(past: Sequence, now: ClockReading): ReplacedFirmware | null {
  if (past.firmwareVersion === null || now.firmwareVersion === past.firmwareVersion) return past.replaced;
  return { version: past.firmwareVersion, resetCount: now.resetCount };
}

function beginning(past: Sequence, now: ClockReading): SequenceJudgement['begun'] {
  if (now.resetCount > past.resetCount) return 'rebooted';
  return now.resetCount === past.resetCount && now.restartCount > past.restartCount ? 'resumed' : null;
}

/** Attack: a snapshot of a TPM, hidden behind a suspend. Over a reset, clocks of honest firmware TPMs start over. */
function between(past: Sequence, now: ClockReading): Finding[] {
  const rebooted = now.resetCount > past.resetCount;
  const found: Finding[] = [];
  if (!rebooted && now.clock < past.clock)
    found.push(
      identity(
        'counter_rollback',
        clockOf(past),
        clockOf(now),
        'The clock of the TPM went back over a restart within one reset.',
      ),
    );
  if (rebooted && now.clock + lostWithPower < past.clock) found.push(clockAnew(past, now));
  if (rebooted && past.bootId !== null && past.bootId === now.bootId)
    found.push(
      {
        ...boot('boot_correlation', `resetCount ${past.resetCount}`, `resetCount ${now.resetCount}`),
        text: 'The TPM was reset, but the kernel says that it kept running: only one of the two booted.',
      },
      {
        ...boot('rebooted', `boot id ${past.bootId}`, `boot id ${now.bootId}`),
        text: 'The TPM was reset: this counts as another boot, although the kernel says that it kept running.',
      },
    );
  return found;
}

function within(past: Sequence, now: ClockReading, concurrent: boolean): Finding[] {
  if (now.resetCount < past.resetCount) return [rolledBack('reset', past.resetCount, now.resetCount)];
  if (now.restartCount < past.restartCount)
    return [rolledBack('restart', past.restartCount, now.restartCount)];
  const found: Finding[] = [];
  const otherKernel = past.firstBootId !== null && now.bootId !== null && now.bootId !== past.firstBootId;
  const wentHome = !otherKernel && past.bootId !== null && past.bootId !== past.firstBootId;
  if (now.clock < past.clock && !concurrent) {
    found.push(identity('clock_rewind', clockOf(past), clockOf(now), 'The clock of the TPM went back.'));
    // Attack: two machines that go on from one snapshot. Their clocks interleave.
    found.push(
      past.rewind === 'passed' || now.bootId !== past.bootId
        ? cloned(clockOf(past), clockOf(now))
        : identity(
            'counter_rollback',
            clockOf(past),
            clockOf(now),
            'The TPM went back to an earlier moment of the same boot, as a restored snapshot does.',
          ),
    );
  } else if (wentHome && now.bootId !== null && !concurrent)
    found.push(cloned(`boot id ${past.bootId}`, `boot id ${now.bootId}`));
  if (otherKernel)
    found.push({
      ...boot('kexec_detected', `boot id ${past.firstBootId}`, `boot id ${now.bootId}`),
      text: 'The running kernel is not the one in this boot log, and the TPM was not reset: kexec started another kernel.',
    });
  return found;
}

function remembered(
  past: Sequence,
  now: ClockReading,
  { anew, concurrent }: { readonly anew: boolean; readonly concurrent: boolean },
): Omit<Sequence, 'replaced' | 'held'> {
  // A reset starts both over: the count of restarts too.
  const back = !anew && (now.resetCount < past.resetCount || now.restartCount < past.restartCount);
  const rewound = !anew && !concurrent && now.clock < past.clock;
  return {
    // What was highest is what the next one is compared with: a lower one must not launder itself.
    resetCount: anew ? now.resetCount : past.resetCount,
    restartCount: anew ? now.restartCount : past.restartCount,
    clock: anew || now.clock > past.clock ? now.clock : past.clock,
    firmwareVersion: now.firmwareVersion ?? past.firmwareVersion,
    bootId: back ? past.bootId : (now.bootId ?? past.bootId),
    firstBootId: anew ? now.bootId : (past.firstBootId ?? now.bootId),
    rewind: anew ? 'none' : rewound ? 'seen' : past.rewind === 'seen' ? 'passed' : past.rewind,
  };
}

function stillHeld(code: HeldCode): Finding {
  return identity(
    code,
    'an approval since then',
    null,
    `${sinceThen[code]} Check the machine, then approve its key again.`,
  );
}

const sinceThen: Readonly<Record<HeldCode, string>> = {
  counter_rollback:
    'The counters of this TPM went back, or their earlier values cannot be read. Nobody has approved the TPM since.',
  clone_suspected: 'Two machines answered with this TPM. Nobody has approved it since.',
};

function cloned(expected: string, actual: string): Finding {
  const text = 'Two machines answer with the same TPM: a virtual TPM was cloned.';
  return identity('clone_suspected', expected, actual, text);
}

/** An update does this too: what must not be is on the policy's list. */
function firmwareChanged(expected: string, actual: string | null): Finding {
  const older = actual !== null && actual < expected ? ', which is older' : '';
  const text = `The firmware of the TPM changed from ${expected} to ${actual ?? 'an unknown one'}${older}.`;
  return { ...identity('tpm_firmware', expected, actual, text), severity: 'warn' };
}

function rolledBack(counter: 'reset' | 'restart', before: number, now: number): Finding {
  const text = `The ${counter} counter of the TPM went back: the TPM was cleared, or is a snapshot of another one.`;
  return identity('counter_rollback', `${counter}Count ${before}`, `${counter}Count ${now}`, text);
}

/** A finding that is never held: a firmware TPM that loses its power does this, and so does one that was cleared. */
function clockAnew(past: Sequence, now: ClockReading): Finding {
  return {
    ...boot('rebooted', `more than ${clockOf(past)}`, clockOf(now)),
    source: 'tpm',
    severity: 'info',
    text: 'The TPM was reset, and its clock started again: its power was lost, or it was cleared.',
  };
}

function clockOf({ clock }: ClockReading): string {
  return `clock ${clock}`;
}

function identity(code: ReasonCode, expected: string, actual: string | null, text: string): Finding {
  return { code, aspect: 'identity', source: 'tpm', expected, actual, text, evidence: null };
}

function boot(code: ReasonCode, expected: string, actual: string): Omit<Finding, 'text'> {
  return { code, aspect: 'boot', source: 'host', expected, actual, evidence: null };
}
