import type { ReasonCode } from '../../wire/reasons.ts';
import { type LogBank, logBankBytes } from '../tpm/algorithms.ts';
import { eventData } from '../tpm/event-data.ts';
import { eventBytes, type ParsedLog } from '../tpm/event-log.ts';
import { eventTypeName } from '../tpm/event-types.ts';
import { allMeasuredBytes } from '../tpm/event-verified.ts';
import { extendsPcr } from '../tpm/replay.ts';
import type { BootProblem } from './boot-problem.ts';

/** The PCRs for which the TPM vouches: these banks, and of them the PCRs that the log replays onto in every one. */
export interface VouchedPcrBanks {
  readonly banks: readonly LogBank[];
  /** Bit i is set where PCR i replays. */
  readonly pcrs: number;
}

/** A log beside what is vouched for of it. */
export interface VouchedLog extends VouchedPcrBanks {
  readonly log: ParsedLog;
  /** By event, the bytes that its digests in all `banks` are of, where the log holds them. */
  readonly measured: readonly (Buffer | null)[];
  /** By event, 1 where it extends a PCR that replays. */
  readonly counts: Uint8Array;
  /** By event, what a loader wrote; undefined if nobody has asked yet. */
  readonly loaderTexts: (LoaderText | null | undefined)[];
}

/** A text that a loader wrote into the log, if the event's digest is that of the text. */
export interface LoaderText {
  readonly kind: 'command' | 'cmdline';
  readonly text: string;
  /** The kernel's arguments; null for a text that is no command line. */
  readonly arguments: string | null;
  /** The image of the kernel as GRUB names it; null if the text does not say. */
  readonly image: string | null;
}

export function vouchedLog(log: ParsedLog, { banks, pcrs }: VouchedPcrBanks): VouchedLog {
  const { raw } = log;
  const counts = new Uint8Array(raw.count);
  for (let event = 0; event < raw.count; event++)
    if (extendsPcr(raw, event)) counts[event] = (pcrs >>> raw.pcrs[event]!) & 1;
  return { log, banks, pcrs, measured: allMeasuredBytes(log.bytes, raw, banks), counts, loaderTexts: [] };
}

/** True if the event extends a PCR that replays. */
export function isVouched({ counts }: VouchedLog, event: number): boolean {
  return counts[event] === 1;
}

/** An event's data, a view. */
export function dataOf({ log }: VouchedLog, event: number): Buffer {
  return eventBytes(log, event);
}

/** The same bytes' digest in each bank. */
export type KnownDigest = Readonly<Partial<Record<LogBank, Buffer>>>;

/** True if the event's digest is this one in every bank that vouches. */
export function hasDigest({ log, banks }: VouchedLog, event: number, known: KnownDigest): boolean {
  for (const bank of banks) {
    const at = log.raw.digestOffsets[bank]?.[event] ?? 0;
    const digest = known[bank];
    if (at === 0 || digest === undefined) return false;
    // Most events differ in the first bytes, and reading four of them costs less than any call.
    if (log.bytes.readInt32LE(at) !== digest.readInt32LE(0)) return false;
    if (digest.compare(log.bytes, at, at + logBankBytes[bank]) !== 0) return false;
  }
  return banks.length > 0;
}

/**
 * Tells which events may have one of these digests, for less than it costs to know: by four bytes in one bank. Most events
 * have none of them.
 */
export function digestSieve(
  { log, banks }: VouchedLog,
  known: readonly KnownDigest[],
): (event: number) => boolean {
  const [bank] = banks;
  const offsets = bank === undefined ? undefined : log.raw.digestOffsets[bank];
  if (bank === undefined || offsets === undefined) return () => false;
  const heads = known.flatMap((one) => one[bank]?.readInt32LE(0) ?? []);
  return (event) => heads.includes(log.bytes.readInt32LE(offsets[event]!));
}

/**
 * A problem that an event shows; the text names the event by its own words, which nothing vouches for.
 * @param type what its data is read as
 */
export function problemAt(
  vouched: VouchedLog,
  event: number,
  code: ReasonCode,
  text: string,
  values: { readonly expected?: string | null; readonly actual?: string } = {},
  type: number = vouched.log.raw.types[event]!,
): BootProblem {
  const { expected = null, actual = null } = values;
  const pcr = vouched.log.raw.pcrs[event] ?? null;
  const { describes } = eventData(eventTypeName(type), dataOf(vouched, event));
  return { code, pcr, event, expected, actual, text: `event ${event} (PCR ${pcr}, ${describes}): ${text}` };
}
