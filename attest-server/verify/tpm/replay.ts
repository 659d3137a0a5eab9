import { hash } from 'node:crypto';
import { cryptoName, type LogBank, logBankBytes } from './algorithms.ts';
import { eventType, noAction } from './event-types.ts';
import { noPcr, type RawLog } from './log-format.ts';

export interface StartupLocality {
  /** As the log says; null if it has no such event. */
  readonly locality: number | null;
  /** The last byte of PCR 0 before the first extend. */
  readonly pcr0: number;
  /** Indices of EV_NO_ACTION events that claim a locality where none counts, or a value that cannot be. */
  readonly ignored: readonly number[];
}

const localityTag = Buffer.from('StartupLocality\0');

/**
 * Finds the locality of TPM2_Startup, which is what PCR 0 starts from. Only events before the first one of PCR 0 are
 * believed, and of those the first: one injected later would let a liar choose the start.
 * PC Client PFP 1.06, sections 10.4.5.3 and 3.3.2.1 (H-CRTM starts PCR 0 at 4).
 */
export function findStartupLocality(bytes: Buffer, log: RawLog): StartupLocality {
  const { pcrs, types, dataOffsets, ends } = log;
  let locality: number | null = null;
  const ignored: number[] = [];
  /** Whether the first event of PCR 0 is one of an H-CRTM; null before it. */
  let hcrtm: boolean | null = null;
  for (let index = 0; index < log.count; index++) {
    const type = types[index]!;
    if (type !== noAction) {
      if (pcrs[index] === 0) hcrtm ??= type === eventType.hcrtm;
      continue;
    }
    const value = localityIn(bytes.subarray(dataOffsets[index], ends[index]));
    if (value === null) continue;
    if (hcrtm !== null || locality !== null || ![0, 3, 4].includes(value)) ignored.push(index);
    else locality = value;
  }
  return { locality, pcr0: locality ?? (hcrtm ? 4 : 0), ignored };
}

/** The locality that an EV_NO_ACTION names; null if it names none. Firmware with events of one size fills it with zeros. */
export function localityIn(data: Buffer): number | null {
  const at = localityTag.length;
  if (data.length <= at || localityTag.compare(data, 0, at) !== 0) return null;
  return data.subarray(at + 1).every((byte) => byte === 0) ? data[at]! : null;
}

/** True if the event goes into a PCR of a bank that the header declares. */
export function extendsPcr(log: RawLog, index: number): boolean {
  return log.types[index] !== noAction && log.pcrs[index] !== noPcr && !isUndeclared(log, index);
}

/** An event that nothing vouches for, and that the log could as well be without: it is noted, and is no fact. */
function isUndeclared({ undeclared, digestCounts }: RawLog, index: number): boolean {
  return undeclared.size > 0 && digestCounts[index] === 0 && undeclared.has(index);
}

/** The values of a bank after a log. */
export interface ReplayedBank {
  readonly bank: LogBank;
  /** Bit i is set where the log extends PCR i. */
  readonly extended: number;
  /** A scratch of [value | digest extended last] for each PCR; see `replayedValue`. */
  readonly scratch: Buffer;
}

const pcrCount = 32;

/** Replays one bank: every PCR that the log extends in it. TPM 2.0 Part 1 r1.59, section 17.2. */
export function replayBank(bytes: Buffer, log: RawLog, bank: LogBank, pcr0: number): ReplayedBank {
  const size = logBankBytes[bank];
  const { pcrs, types, count } = log;
  const digestOffsets = log.digestOffsets[bank] ?? new Uint32Array(count);
  // An extend hashes [old | new] whole, and writes the result where the next one of this PCR reads it.
  const scratch = Buffer.alloc(pcrCount * size * 2);
  scratch[size - 1] = pcr0;
  const views: (Buffer | undefined)[] = [];
  const algorithm = cryptoName(bank);
  let extended = 0;
  for (let index = 0; index < count; index++) {
    const pcr = pcrs[index]!;
    const digest = digestOffsets[index]!;
    if (digest === 0 || types[index] === noAction || pcr === noPcr) continue;
    const start = pcr * size * 2;
    let view = views[pcr];
    if (view === undefined) {
      view = scratch.subarray(start, start + size * 2);
      views[pcr] = view;
      extended |= 1 << pcr;
    }
    for (let i = 0; i < size; i++) view[size + i] = bytes[digest + i]!;
    // Text of one byte a character is the quickest that crypto.hash gives: no Buffer is made, no digit decoded.
    const value = hash(algorithm, view, 'latin1');
    for (let i = 0; i < size; i++) view[i] = value.charCodeAt(i);
  }
  return { bank, extended, scratch };
}

/** The value of one PCR, a view; null if the log does not extend it. */
export function replayedValue({ bank, extended, scratch }: ReplayedBank, pcr: number): Buffer | null {
  if (((extended >>> pcr) & 1) === 0) return null;
  const start = pcr * logBankBytes[bank] * 2;
  return scratch.subarray(start, start + logBankBytes[bank]);
}

/** Every PCR that the log extends, hex. */
export function replayedHex(replayed: ReplayedBank): Record<number, string> {
  const pcrs: Record<number, string> = {};
  for (let pcr = 0; pcr < pcrCount; pcr++) {
    const value = replayedValue(replayed, pcr);
    if (value !== null) pcrs[pcr] = value.toString('hex');
  }
  return pcrs;
}
