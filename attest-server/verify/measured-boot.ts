import { bankBytes, type PcrBank } from '../protocol/messages.ts';
import { bootState } from './boot/derive-boot-state.ts';
import { replayMismatch } from './boot/replay-mismatch.ts';
import type { Vouched } from './boot/vouched-log.ts';
import type { BootProblem, MeasuredBoot, QuotedBank } from './proven.ts';
import { type ParsedLog, parseEventLog } from './tpm/event-log.ts';
import { lacksDigest } from './tpm/event-verified.ts';
import { extendsPcr, replayedValue } from './tpm/replay.ts';

/**
 * The PCRs that firmware and boot loaders alone extend, before the log ends. PCR 10 is IMA's, and user space
 * extends 11 to 13 and 15 on: those must not look wrong because the log ends earlier.
 */
const firmwarePcrs: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];

/**
 * Parses a firmware log and replays it onto the quoted PCRs. What it shows wrong is in `problems`.
 * @param digest SHA-256 of `bytes`, hex
 * @throws Rejection `malformed`, `too_large`
 */
export function measureBoot(bytes: Buffer, digest: string, banks: readonly QuotedBank[]): MeasuredBoot {
  const log = parseEventLog(bytes);
  const extended = banks.filter((quoted) => !neverExtended(quoted));
  const state = bootState(log, vouchedBy(log, extended));
  const problems = [
    ...checkBankExtended(banks),
    ...checkReplay(log, extended),
    ...checkDigests(log, extended),
    ...state.problems,
  ];
  return { digest, log, problems, state };
}

/** The PCRs that the log replays onto in every one of these banks. */
function vouchedBy(log: ParsedLog, banks: readonly QuotedBank[]): Vouched {
  let pcrs = banks.length === 0 ? 0 : allPcrs;
  for (const quoted of banks) {
    const replayed = log.replay(quoted.bank);
    for (let pcr = 0; pcr < 24; pcr++) {
      const value = quotedValue(quoted, pcr);
      const replay = replayed && replayedValue(replayed, pcr);
      if (value === null || !replay?.equals(value)) pcrs &= ~(1 << pcr);
    }
  }
  return { banks: banks.map(({ bank }) => bank), pcrs };
}

const allPcrs = 0xffffff;

/**
 * Attack: PCRs of a bank that the firmware never extends are extended by the system itself, with whatever it
 * likes. A bank better than SHA-1 whose PCRs 0 to 7 are all zero proves nothing; this needs no log.
 */
export function checkBankExtended(banks: readonly QuotedBank[]): BootProblem[] {
  return banks.filter(neverExtended).map(({ bank }) => ({
    code: 'bank_unextended',
    pcr: null,
    event: null,
    expected: 'PCRs 0 to 7 extended',
    actual: 'all zero',
    text: `the firmware never extended the ${bank} bank: PCRs 0 to 7 are all zero`,
  }));
}

function neverExtended(quoted: QuotedBank): boolean {
  if (quoted.bank === 'sha1' || (quoted.mask & 0xff) === 0) return false;
  for (let pcr = 0; pcr < 8; pcr++) {
    const value = quotedValue(quoted, pcr);
    if (value !== null && !isZero(value)) return false;
  }
  return true;
}

/** Problems of each bank; a bank that differs while another one replays is told apart (`bank_mismatch`). */
function checkReplay(log: ParsedLog, banks: readonly QuotedBank[]): BootProblem[] {
  const judged = banks.map((quoted) => ({ bank: quoted.bank, problems: bankProblems(log, quoted) }));
  const good = judged.find(({ problems }) => problems.length === 0);
  return judged.flatMap(({ bank, problems }) =>
    good !== undefined && problems.length > 0
      ? [bankMismatch(good.bank, bank, problems), ...problems]
      : problems,
  );
}

function bankProblems(log: ParsedLog, quoted: QuotedBank): BootProblem[] {
  const replayed = log.replay(quoted.bank);
  const problems: BootProblem[] = [];
  for (const pcr of firmwarePcrs) {
    const value = quotedValue(quoted, pcr);
    if (value === null) continue;
    const replay = replayed && replayedValue(replayed, pcr);
    if (replay?.equals(value) || (replay === null && isZero(value))) continue;
    problems.push(
      replay === null
        ? incomplete(quoted.bank, pcr, value)
        : replayMismatch(log, quoted.bank, pcr, replay, value),
    );
  }
  return problems;
}

function incomplete(bank: PcrBank, pcr: number, value: Buffer): BootProblem {
  const actual = value.toString('hex');
  const text = `PCR ${pcr} (${bank}) was extended, and the log has no event for it`;
  return { code: 'log_incomplete', pcr, event: null, expected: null, actual, text };
}

/**
 * Attack: an event without a digest in one bank was never extended there, so that the bank hides it. An event must be in
 * every quoted bank of the log.
 */
function checkDigests({ raw }: ParsedLog, banks: readonly QuotedBank[]): BootProblem[] {
  return banks.flatMap(({ bank }): BootProblem[] => {
    if (!raw.banks.includes(bank)) return [];
    for (let event = 0; event < raw.count; event++) {
      const pcr = raw.pcrs[event]!;
      if (!extendsPcr(raw, event) || !firmwarePcrs.includes(pcr) || !lacksDigest(raw, event, [bank]))
        continue;
      const text = `event ${event} (PCR ${pcr}) has no ${bank} digest, and that bank is quoted`;
      return [{ code: 'bank_mismatch', pcr, event, expected: `a ${bank} digest`, actual: null, text }];
    }
    return [];
  });
}

function bankMismatch(good: PcrBank, bad: PcrBank, problems: readonly BootProblem[]): BootProblem {
  const pcrs = problems.map(({ pcr }) => pcr).join(', ');
  return {
    code: 'bank_mismatch',
    pcr: problems[0]?.pcr ?? null,
    event: null,
    expected: `as in ${good}`,
    actual: `${bad}: PCR ${pcrs} differ`,
    text: `the log replays in the ${good} bank and not in the ${bad} bank (PCR ${pcrs})`,
  };
}

/** The quoted value of one PCR, a view; null where it was not quoted. */
function quotedValue({ bank, mask, values }: QuotedBank, pcr: number): Buffer | null {
  if (((mask >>> pcr) & 1) === 0) return null;
  const size = bankBytes[bank];
  let position = 0;
  for (let below = 0; below < pcr; below++) position += (mask >>> below) & 1;
  const value = values.subarray(position * size, (position + 1) * size);
  return value.length === size ? value : null;
}

function isZero(value: Buffer): boolean {
  for (const byte of value) if (byte !== 0) return false;
  return true;
}
