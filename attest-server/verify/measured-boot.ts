import { isImageOf } from '../formats/initrd-manifest.ts';
import type { PcrValues } from '../wire/pcr-values.ts';
import type { BootProblem } from './boot/boot-problem.ts';
import type { BootState } from './boot/boot-state.ts';
import { knowingCommandLine } from './boot/derive-boot-state.ts';
import { initrdsIn } from './boot/initrd-components.ts';
import { type FileSet, noFiles } from './boot/loader-files.ts';
import { type BootCap, readCap } from './boot-cap.ts';
import { BootReading } from './boot-reading.ts';
import type { HashedPart } from './hashed-part.ts';
import type { QuotedBank } from './quote.ts';
import { neverExtended } from './quoted-values.ts';
import type { ReadInitrd } from './read-initrd.ts';
import { checkDigests, checkReplay } from './replay-onto-quote.ts';
import type { EventLog } from './tpm/event-log.ts';
import type { UserSpaceEvent } from './tpm/user-space-log.ts';
import { vouchedPcrs } from './vouched-pcrs.ts';

/** For the compiler alone, as in proven.ts. */
declare class BootSeal {
  protected readonly measured: never;
}

/** A firmware log beside PCR values: what replays onto them, and what does not. */
export interface ReplayedBoot {
  /** SHA-256 of the log's exact bytes, hex. */
  readonly digest: string;
  readonly log: EventLog;
  /** Measurements of user space after the firmware's log, as far as they led to the values; empty if it did not send its log. */
  readonly userSpace?: readonly UserSpaceEvent[];
  /** By PCR 15 of each bank, whether the boot is capped. */
  readonly cap: BootCap;
  readonly problems: readonly BootProblem[];
  /** The boot, as far as the values vouch for it. */
  readonly state: BootState;
}

/** A firmware log beside quoted PCRs, so that the TPM vouches for what replays: only `measureBoot` makes one. */
export interface MeasuredBoot extends ReplayedBoot, BootSeal {
  /** SHA-256 of the exact bytes of user space's log, hex; null if none was given. */
  readonly userSpaceDigest: string | null;
  /** SHA-256 of the list of files that say what its loader read, hex, as in `FileSet`; null if none was given. */
  readonly filesDigest: string | null;
  /** The content of images for which the TPM vouches as initrds, by digest, as far as it is known here. */
  readonly initrds: readonly ReadInitrd[];
}

/**
 * Parses a firmware log and replays it onto the quoted PCRs. What it shows wrong is in `problems`.
 * @param userSpace the log of what systemd measured after it, as systemd keeps it; null if it was not sent
 * @param files that its loader may have read
 * @throws Rejection `malformed`, `too_large`
 */
export function measureBoot(
  log: HashedPart,
  banks: readonly QuotedBank[],
  userSpace: HashedPart | null = null,
  files: FileSet = noFiles,
): MeasuredBoot {
  return measureReading(BootReading.of(log, userSpace), banks, userSpace?.digest ?? null, files);
}

/**
 * The same of logs that were read before. @param userSpaceDigest of the log of user space among them
 * @param isWhole whether no further file of `files` may be known the next time
 */
export function measureReading(
  reading: BootReading,
  banks: readonly QuotedBank[],
  userSpaceDigest: string | null,
  files: FileSet,
  isWhole = true,
): MeasuredBoot {
  const boot = replayOnto(reading, banks, files, isWhole);
  return sealed(boot, boot.state, { userSpaceDigest, filesDigest: files.digest, initrds: [] });
}

/** A command line that the log lacks as text is taken from the facts, where the TPM holds its digest. */
export function knowingSaid(boot: MeasuredBoot, said: string | undefined): MeasuredBoot {
  const state = said === undefined ? boot.state : knowingCommandLine(boot.state, said);
  return state === boot.state ? boot : sealed(boot, state, boot);
}

/** With what is known of the initrds among its components: of the image with each digest that was measured. */
export function knowingInitrds(boot: MeasuredBoot, known: readonly ReadInitrd[]): MeasuredBoot {
  if (known.length === 0) return boot;
  const measured = initrdsIn(boot.state);
  const initrds = known.filter(({ image }) => measured.some((one) => isImageOf(image, one)));
  return initrds.length === 0 ? boot : sealed(boot, boot.state, { ...boot, initrds });
}

function sealed(
  { digest, log, userSpace, cap, problems }: ReplayedBoot,
  state: BootState,
  {
    userSpaceDigest,
    filesDigest,
    initrds,
  }: Pick<MeasuredBoot, 'userSpaceDigest' | 'filesDigest' | 'initrds'>,
): MeasuredBoot {
  // The one place that makes it: the seal exists for the compiler only.
  return {
    digest,
    log,
    problems,
    state,
    userSpace,
    cap,
    userSpaceDigest,
    filesDigest,
    initrds,
  } as MeasuredBoot;
}

/**
 * The same onto values that nothing vouches for, such as those that a log itself leads to: to compare, never to judge.
 * @throws Rejection `malformed`, `too_large`
 */
export function replayBoot(
  log: HashedPart,
  banks: readonly PcrValues[],
  userSpace: HashedPart | null = null,
  files: FileSet = noFiles,
): ReplayedBoot {
  return replayOnto(BootReading.of(log, userSpace), banks, files);
}

function replayOnto(
  reading: BootReading,
  banks: readonly PcrValues[],
  files: FileSet,
  isWhole = true,
): ReplayedBoot {
  const { digest, log } = reading;
  const extended = banks.filter((held) => !neverExtended(held));
  const cap = readCap(log, banks, reading.userSpace);
  const vouched = vouchedPcrs(log, extended, reading.userSpace, cap);
  const state = reading.state(vouched, files, isWhole);
  const problems = [
    ...checkBankExtended(banks),
    ...checkReplay(log, extended, vouched.userSpace),
    ...checkDigests(log, extended),
    ...state.problems,
  ];
  return { digest, log, problems, state, userSpace: vouched.userSpace, cap };
}

/**
 * Attack: PCRs of a bank that the firmware never extends are extended by the system itself, with whatever it
 * likes. A bank better than SHA-1 whose PCRs 0 to 7 are all zero proves nothing; this needs no log.
 */
export function checkBankExtended(banks: readonly PcrValues[]): BootProblem[] {
  return banks.filter(neverExtended).map(({ bank }) => ({
    code: 'bank_unextended',
    pcr: null,
    event: null,
    expected: 'PCRs 0 to 7 extended',
    actual: 'all zero',
    text: `the firmware never extended the ${bank} bank: PCRs 0 to 7 are all zero`,
  }));
}
