import { capPcr } from '../wire/cap.ts';
import { filePcr } from '../wire/loader-files.ts';
import { bankBytes } from '../wire/messages.ts';
import { type PcrValues, pcrValue } from '../wire/pcr-values.ts';
import type { VouchedPcrBanks } from './boot/vouched-log.ts';
import type { BootCap } from './boot-cap.ts';
import { type Comparison, compareReplay } from './quoted-values.ts';
import type { ParsedLog } from './tpm/event-log.ts';
import { replayedValue } from './tpm/replay.ts';
import { eventsUntil, type UserSpaceEvent, type UserSpaceLog } from './tpm/user-space-log.ts';

/** The PCRs that the quote vouches for, once the logs of firmware and user space are replayed onto it. */
export interface VouchedPcrs extends VouchedPcrBanks {
  /** The events of user space that led to the quoted values, in the log's order. */
  readonly userSpace: readonly UserSpaceEvent[];
}

/** All but PCR 10, which is IMA's, and those behind 15, which anybody resets. */
const judged: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15];
/** PCRs that systemd extends after the firmware's log has ended, besides 15. */
const userSpacePcrs: ReadonlySet<number> = new Set([9, 11, 12, 13]);
/**
 * Events of systemd from 259 on in PCR 9 on NV indices that serve as PCRs. Attack: a file that a loader read last, put into
 * the log of user space.
 */
const ofVirtualPcr = /^(?:nvpcr-init:[\w.-]+:0x[0-9a-f]+:[a-z0-9]+:[0-9a-f]+|nvpcr-separator)$/;

/**
 * A PCR counts where the firmware's log, and in those of user space its log after it, ends at the quoted value; PCR 15 also
 * if that is so with the cap.
 */
export function vouchedPcrs(
  log: ParsedLog,
  quoted: readonly PcrValues[],
  userSpace: UserSpaceLog | null,
  cap: BootCap,
): VouchedPcrs {
  const banks = quoted.filter(({ bank }) => (log.replay(bank)?.extended ?? 0) !== 0);
  let pcrs = 0;
  const led: UserSpaceEvent[] = [];
  if (banks.length > 0)
    for (const pcr of judged) {
      if (pcr === capPcr) {
        const events = eventsToCap(banks, cap);
        if (events === null) continue;
        pcrs |= 1 << pcr;
        led.push(...events);
      } else if (banks.every((bank) => endsThere(compareReplay(bank, log.replay(bank.bank), pcr))))
        pcrs |= 1 << pcr;
      else if (userSpace !== null && userSpacePcrs.has(pcr)) {
        const events = eventsToQuoted(log, banks, pcr, userSpace);
        if (events.length === 0 || (pcr === filePcr && !events.every(isOfVirtualPcr))) continue;
        pcrs |= 1 << pcr;
        led.push(...events);
      }
    }
  led.sort((a, b) => a.index - b.index);
  return { banks: banks.map(({ bank }) => bank), pcrs, userSpace: led };
}

function isOfVirtualPcr({ verified, describes }: UserSpaceEvent): boolean {
  return verified && ofVirtualPcr.test(describes);
}

function endsThere(comparison: Comparison): boolean {
  return comparison === 'same' || comparison === 'untouched';
}

/**
 * The events of user space between the firmware's log and the quote; empty if the banks do not agree on them. Attack: an
 * event that extended no quoted bank, put where another one extended them.
 */
function eventsToQuoted(
  log: ParsedLog,
  banks: readonly PcrValues[],
  pcr: number,
  userSpace: UserSpaceLog,
): readonly UserSpaceEvent[] {
  const [events = null, ...others] = banks.map((quoted) => {
    const value = pcrValue(quoted, pcr);
    const replayed = log.replay(quoted.bank);
    if (value === null || replayed === null) return null;
    const before = replayedValue(replayed, pcr) ?? Buffer.alloc(bankBytes[quoted.bank]);
    return eventsUntil(userSpace, quoted.bank, pcr, before, value);
  });
  return events !== null && others.every((other) => areSame(events, other)) ? events : [];
}

/** The events of user space that PCR 15 holds, capped or not; null if it holds anything else, or if the banks do not agree on them. */
function eventsToCap(banks: readonly PcrValues[], cap: BootCap): readonly UserSpaceEvent[] | null {
  const read = banks.map(({ bank }) => cap.get(bank));
  const events = read[0]?.userSpace ?? null;
  const agree = read.every(
    (one) => one !== undefined && one.state !== 'unexplained' && areSame(one.userSpace, events),
  );
  return agree ? events : null;
}

function areSame(some: readonly UserSpaceEvent[], others: readonly UserSpaceEvent[] | null): boolean {
  return some.length === others?.length && some.every((event, i) => event === others[i]);
}
