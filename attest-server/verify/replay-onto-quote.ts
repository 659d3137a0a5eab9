import type { PcrBank } from '../wire/messages.ts';
import { type PcrValues, pcrValue } from '../wire/pcr-values.ts';
import type { BootProblem } from './boot/boot-problem.ts';
import { replayMismatch } from './boot/replay-mismatch.ts';
import { compareReplay } from './quoted-values.ts';
import type { ParsedLog } from './tpm/event-log.ts';
import { extendsPcr, replayedValue } from './tpm/replay.ts';
import type { UserSpaceEvent } from './tpm/user-space-log.ts';

/**
 * The PCRs that firmware and boot loaders alone extend, before the log ends. PCR 10 is IMA's, and user space
 * extends 11 to 13 and 15 on: those must not look wrong because the log ends earlier.
 */
const firmwarePcrs: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];

/**
 * Problems of each bank; a bank that differs while another one replays is told apart (`bank_mismatch`).
 * @param userSpace the events that lead from the log to the quoted values, in every bank
 */
export function checkReplay(
  log: ParsedLog,
  banks: readonly PcrValues[],
  userSpace: readonly UserSpaceEvent[] = [],
): BootProblem[] {
  const later = new Set(userSpace.map(({ pcr }) => pcr));
  const judged = banks.map((quoted) => ({ bank: quoted.bank, problems: bankProblems(log, quoted, later) }));
  const good = judged.find(({ problems }) => problems.length === 0);
  return judged.flatMap(({ bank, problems }) =>
    good !== undefined && problems.length > 0
      ? [bankMismatch(good.bank, bank, problems), ...problems]
      : problems,
  );
}

function bankProblems(log: ParsedLog, quoted: PcrValues, later: ReadonlySet<number>): BootProblem[] {
  const replayed = log.replay(quoted.bank);
  const problems: BootProblem[] = [];
  if (replayed === null || replayed.extended === 0) {
    const isExtended = firmwarePcrs.some((pcr) => compareReplay(quoted, replayed, pcr) === 'unlogged');
    return isExtended ? [ofOtherBanks(log, quoted.bank)] : problems;
  }
  for (const pcr of firmwarePcrs) {
    const comparison = compareReplay(quoted, replayed, pcr);
    if (comparison !== 'different' && comparison !== 'unlogged') continue;
    if (later.has(pcr)) continue;
    const value = pcrValue(quoted, pcr);
    const replay = replayedValue(replayed, pcr);
    if (value === null) continue;
    problems.push(
      replay === null
        ? incomplete(quoted.bank, pcr, value)
        : replayMismatch(log, quoted.bank, pcr, replay, value),
    );
  }
  return problems;
}

/** The problem of firmware that logs one bank and extends each, and of a kernel that takes the older log format of TPM 1.2. */
function ofOtherBanks(log: ParsedLog, bank: PcrBank): BootProblem {
  const others = log.raw.banks.filter((other) => (log.replay(other)?.extended ?? 0) !== 0);
  const has = others.join(', ') || 'no bank';
  return {
    code: 'log_incomplete',
    pcr: null,
    event: null,
    expected: `events of the ${bank} bank`,
    actual: has,
    text: `the log has no event of the ${bank} bank, which was extended: it is a log of ${has}`,
  };
}

function incomplete(bank: PcrBank, pcr: number, value: Buffer): BootProblem {
  return {
    code: 'log_incomplete',
    pcr,
    event: null,
    expected: null,
    actual: value.toString('hex'),
    text: `PCR ${pcr} (${bank}) was extended, and the log has no event for it`,
  };
}

function bankMismatch(good: PcrBank, bad: PcrBank, problems: readonly BootProblem[]): BootProblem {
  const isWhole = problems.some(({ pcr }) => pcr === null);
  const pcrs = isWhole ? 'all PCRs' : `PCR ${problems.map(({ pcr }) => pcr).join(', ')}`;
  return {
    code: 'bank_mismatch',
    pcr: problems[0]?.pcr ?? null,
    event: null,
    expected: `as in ${good}`,
    actual: `${bad}: ${pcrs} differ`,
    text: `the log replays in the ${good} bank and not in the ${bad} bank (${pcrs})`,
  };
}

/**
 * Attack: an event without a digest in one bank was never extended there, so that the bank hides it. An event must be in
 * every quoted bank of the log.
 */
export function checkDigests({ raw }: ParsedLog, banks: readonly PcrValues[]): BootProblem[] {
  return banks.flatMap(({ bank }): BootProblem[] => {
    const offsets = raw.digestOffsets[bank];
    if (offsets === undefined) return [];
    for (let event = 0; event < raw.count; event++) {
      const pcr = raw.pcrs[event]!;
      if (offsets[event] !== 0 || !extendsPcr(raw, event) || !firmwarePcrs.includes(pcr)) continue;
      const text = `event ${event} (PCR ${pcr}) has no ${bank} digest, and that bank is quoted`;
      return [{ code: 'bank_mismatch', pcr, event, expected: `a ${bank} digest`, actual: null, text }];
    }
    return [];
  });
}
