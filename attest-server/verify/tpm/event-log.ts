import { bankBytes, type PcrBank } from '../../protocol/messages.ts';
import { eventData } from './event-data.ts';
import { eventStages } from './event-stage.ts';
import { eventTypeName } from './event-types.ts';
import { measuredBytes } from './event-verified.ts';
import { parseRawLog, type RawEvent, type RawLog } from './log-format.ts';
import { type LogNote, logNotes } from './log-notes.ts';
import { extendsPcr, findStartupLocality, replayBank } from './replay.ts';

export const stages = [
  'firmware',
  'driver',
  'secureboot',
  'loader',
  'kernel',
  'initrd',
  'cmdline',
  'os',
  'other',
] as const;
export type Stage = (typeof stages)[number];

/** One event of a TCG log. PC Client PFP 1.06, section 10. */
export interface LogEvent {
  /** Counts from the first event in the file. */
  readonly index: number;
  readonly pcr: number;
  /** `EV_…`, or `0x%08X` where the type is unknown. */
  readonly type: string;
  readonly digests: Readonly<Partial<Record<PcrBank, string>>>;
  readonly stage: Stage;
  /** What the event says of itself, for a person; control characters escaped. */
  readonly describes: string;
  /** The event data was recomputed to the digest in every bank carried. */
  readonly verified: boolean;
}

/** A parsed and replayed log. */
export interface EventLog {
  readonly format: 'crypto-agile' | 'sha1';
  /** Per bank every PCR that the log extends, after replay, hex. */
  readonly banks: Readonly<Partial<Record<PcrBank, Readonly<Record<number, string>>>>>;
  readonly startupLocality: number | null;
  readonly events: readonly LogEvent[];
  readonly notes: readonly LogNote[];
}

/**
 * Parses a firmware log and replays it in every bank that it carries. Both formats: SHA-1 (TPM 1.2 and early
 * firmware) and crypto-agile. PC Client PFP 1.06, section 10.
 * @throws Rejection `malformed` with field and offset, `too_large`
 */
export function parseEventLog(bytes: Buffer): EventLog {
  const raw = parseRawLog(bytes);
  const startup = findStartupLocality(bytes, raw);
  const data = raw.events.map((event) => {
    const type = eventTypeName(event.type);
    return { pcr: event.pcr, type, data: eventData(type, bytes.subarray(event.dataOffset, event.end)) };
  });
  const stage = eventStages(data);
  const events = raw.events.map((event, index): LogEvent => {
    const { type, data: content } = data[index]!;
    return {
      index,
      pcr: event.pcr,
      type,
      digests: hexDigests(bytes, event),
      stage: stage[index]!,
      describes: content.describes,
      verified: measuredBytes(bytes, event, type, content) !== null,
    };
  });
  return {
    format: raw.format,
    banks: replayBanks(bytes, raw, startup.pcr0),
    startupLocality: startup.locality,
    events,
    notes: logNotes(raw, startup),
  };
}

function hexDigests(bytes: Buffer, event: RawEvent): LogEvent['digests'] {
  const digests: Partial<Record<PcrBank, string>> = {};
  for (const { bank, offset } of event.digests)
    digests[bank] = bytes.toString('hex', offset, offset + bankBytes[bank]);
  return digests;
}

function replayBanks(bytes: Buffer, raw: RawLog, pcr0: number): EventLog['banks'] {
  const banks: Partial<Record<PcrBank, Record<number, string>>> = {};
  for (const bank of raw.banks) banks[bank] = replayBank(bytes, raw, bank, pcr0);
  // A bank that the header declares and no event carries does not exist on this machine.
  if (raw.events.some((event) => extendsPcr(event) && event.digests.length > 0))
    for (const bank of raw.banks) if (Object.keys(banks[bank] ?? {}).length === 0) delete banks[bank];
  return banks;
}
