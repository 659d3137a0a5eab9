import type { Rejection } from '../../wire/rejection.ts';
import { type LogBank, logBankBytes } from './algorithms.ts';
import { type EventData, eventData } from './event-data.ts';
import { eventStages, type Stage } from './event-stage.ts';
import { eventTypeName } from './event-types.ts';
import { measuredBytes } from './event-verified.ts';
import { parseRawLog, parseRawLogSoFar, type RawLog } from './log-format.ts';
import { type LogNote, logNotes } from './log-notes.ts';
import {
  extendsPcr,
  findStartupLocality,
  type ReplayedBank,
  replayBank,
  replayedHex,
  type StartupLocality,
} from './replay.ts';

/** One event of a TCG log. PC Client PFP 1.06, section 10. */
export interface LogEvent {
  /** Counts from the first event in the file. */
  readonly index: number;
  readonly pcr: number;
  /** `EV_…`, or `0x%08X` where the type is unknown. */
  readonly type: string;
  readonly digests: Readonly<Partial<Record<LogBank, string>>>;
  readonly stage: Stage;
  /** The event's own description, for a person; control characters escaped. */
  readonly describes: string;
  /** The event data was recomputed to the digest in every bank carried. */
  readonly verified: boolean;
}

/** A parsed and replayed log. */
export interface EventLog {
  readonly format: 'crypto-agile' | 'sha1';
  /** Per bank every PCR that the log extends, after replay, hex. */
  readonly banks: Readonly<Partial<Record<LogBank, Readonly<Record<number, string>>>>>;
  readonly startupLocality: number | null;
  readonly events: readonly LogEvent[];
  readonly notes: readonly LogNote[];
}

/** A log with the bytes that it was parsed from. `banks`, `events` and `notes` are made when first asked for. */
export interface ParsedLog extends EventLog {
  /** The log's exact bytes, and where the events lie in them. */
  readonly bytes: Buffer;
  readonly raw: RawLog;
  /** The last byte of PCR 0 before the first extend. */
  readonly initialValue: number;
  /** Replays one bank; null if the log does not have it. */
  replay(bank: LogBank): ReplayedBank | null;
}

/**
 * Parses a firmware log, and replays it in the banks that are asked for. Both formats: SHA-1 (TPM 1.2 and early
 * firmware) and crypto-agile. PC Client PFP 1.06, section 10.
 * @throws Rejection `malformed` with field and offset, `too_large`
 */
export function parseEventLog(bytes: Buffer): ParsedLog {
  return new LazyLog(bytes, parseRawLog(bytes));
}

/**
 * The events before the first one that cannot be read, and why it cannot: for people alone, since what is missing may be
 * what matters.
 * @throws Rejection if not even the first event can be read
 */
export function parseEventLogSoFar(bytes: Buffer): {
  readonly log: Omit<EventLog, 'banks'>;
  readonly fault: Rejection | null;
} {
  const { raw, fault } = parseRawLogSoFar(bytes);
  return { log: new LazyLog(bytes, raw), fault };
}

/** Most logs are replayed in one bank and compared, and nobody reads them. */
class LazyLog implements ParsedLog {
  readonly format: EventLog['format'];
  readonly startupLocality: number | null;
  readonly initialValue: number;
  readonly bytes: Buffer;
  readonly raw: RawLog;
  readonly #startup: StartupLocality;
  readonly #replayed: ReplayedBank[] = [];
  #banks: EventLog['banks'] | undefined;
  #events: EventLog['events'] | undefined;
  #notes: EventLog['notes'] | undefined;

  constructor(bytes: Buffer, raw: RawLog) {
    const startup = findStartupLocality(bytes, raw);
    this.bytes = bytes;
    this.raw = raw;
    this.format = raw.format;
    this.startupLocality = startup.locality;
    this.initialValue = startup.pcr0;
    this.#startup = startup;
  }

  replay(bank: LogBank): ReplayedBank | null {
    for (const known of this.#replayed) if (known.bank === bank) return known;
    if (!this.raw.banks.includes(bank)) return null;
    const replayed = replayBank(this.bytes, this.raw, bank, this.initialValue);
    this.#replayed.push(replayed);
    return replayed;
  }

  get banks(): EventLog['banks'] {
    this.#banks ??= hexBanks(this);
    return this.#banks;
  }

  get events(): EventLog['events'] {
    this.#events ??= logEvents(this);
    return this.#events;
  }

  get notes(): EventLog['notes'] {
    this.#notes ??= logNotes(this.raw, this.#startup);
    return this.#notes;
  }
}

/** An event's data, a view. */
export function eventBytes({ bytes, raw }: Pick<ParsedLog, 'bytes' | 'raw'>, index: number): Buffer {
  return bytes.subarray(raw.dataOffsets[index], raw.ends[index]);
}

/** An event's digests in these banks, hex. */
export function eventDigests(
  { bytes, raw }: Pick<ParsedLog, 'bytes' | 'raw'>,
  index: number,
  banks: readonly LogBank[] = raw.banks,
): LogEvent['digests'] {
  const digests: Partial<Record<LogBank, string>> = {};
  for (const bank of banks) {
    const offset = raw.digestOffsets[bank]?.[index] ?? 0;
    if (offset !== 0) digests[bank] = bytes.toString('hex', offset, offset + logBankBytes[bank]);
  }
  return digests;
}

function logEvents(log: ParsedLog): readonly LogEvent[] {
  const { bytes, raw } = log;
  const data: { readonly pcr: number; readonly type: string; readonly data: EventData }[] = [];
  for (let index = 0; index < raw.count; index++) {
    const type = eventTypeName(raw.types[index]!);
    data.push({ pcr: raw.pcrs[index]!, type, data: eventData(type, eventBytes(log, index)) });
  }
  const stage = eventStages(data);
  return data.map(({ pcr, type, data: content }, index) => ({
    index,
    pcr,
    type,
    digests: eventDigests(log, index),
    stage: stage[index]!,
    describes: content.describes,
    verified: measuredBytes(bytes, raw, index) !== null,
  }));
}

function hexBanks(log: ParsedLog): EventLog['banks'] {
  const { raw } = log;
  const banks: Partial<Record<LogBank, Record<number, string>>> = {};
  for (const bank of raw.banks) {
    const replayed = log.replay(bank);
    if (replayed !== null) banks[bank] = replayedHex(replayed);
  }
  // A bank that the header declares and no event carries does not exist on this machine.
  if (extendsAny(raw))
    for (const bank of raw.banks) if (Object.keys(banks[bank] ?? {}).length === 0) delete banks[bank];
  return banks;
}

function extendsAny(raw: RawLog): boolean {
  for (let index = 0; index < raw.count; index++)
    if (extendsPcr(raw, index) && raw.banks.some((bank) => raw.digestOffsets[bank]?.[index] !== 0))
      return true;
  return false;
}
