import { hash } from 'node:crypto';
import { bootState } from './boot/derive-boot-state.ts';
import type { BootProblem, MeasuredBoot, QuotedBank } from './proven.ts';
import { neverExtended } from './quoted-values.ts';
import { checkDigests, checkReplay } from './replay-onto-quote.ts';
import { parseEventLog } from './tpm/event-log.ts';
import { parseUserSpaceLog } from './tpm/user-space-log.ts';
import { vouchedPcrs } from './vouched-pcrs.ts';

/**
 * Parses a firmware log and replays it onto the quoted PCRs. What it shows wrong is in `problems`.
 * @param digest SHA-256 of `bytes`, hex
 * @param userSpaceLog what systemd measured after it, as systemd keeps it; null where it was not sent
 * @throws Rejection `malformed`, `too_large`
 */
export function measureBoot(
  bytes: Buffer,
  digest: string,
  banks: readonly QuotedBank[],
  userSpaceLog: Buffer | null = null,
): MeasuredBoot {
  const log = parseEventLog(bytes);
  const extended = banks.filter((quoted) => !neverExtended(quoted));
  const vouched = vouchedPcrs(log, extended, userSpaceLog === null ? null : parseUserSpaceLog(userSpaceLog));
  const state = bootState(log, vouched);
  const problems = [
    ...checkBankExtended(banks),
    ...checkReplay(log, extended, vouched.userSpace),
    ...checkDigests(log, extended),
    ...state.problems,
  ];
  const userSpaceDigest = userSpaceLog === null ? null : hash('sha256', userSpaceLog, 'hex');
  return { digest, log, problems, state, userSpace: vouched.userSpace, userSpaceDigest };
}

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
