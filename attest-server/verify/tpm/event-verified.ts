import { hash } from 'node:crypto';
import { filePcr } from '../../wire/loader-files.ts';
import { cryptoName, type LogBank, logBankBytes } from './algorithms.ts';
import { variableValue } from './efi-structures.ts';
import { eventType } from './event-types.ts';
import { grubPrefix } from './grub-text.ts';
import type { RawLog } from './log-format.ts';

/** The source of an event's digest, by its type: which bytes of the data are tried, and in which order. */
type DigestSource =
  /** An image, a table, a file: nothing that the log holds. */
  | 'elsewhere'
  | 'data'
  /** UEFI_VARIABLE_DATA; most firmware hashes a boot variable's value alone. */
  | 'value or variable'
  | 'variable or value'
  | 'tagged'
  | 'text'
  | 'loader text';

const measuredByType: ReadonlyMap<number, DigestSource> = new Map<number, DigestSource>([
  [eventType.postCode, 'elsewhere'],
  [eventType.noAction, 'elsewhere'],
  [eventType.crtmContents, 'elsewhere'],
  [eventType.postCode2, 'elsewhere'],
  [eventType.application, 'elsewhere'],
  [eventType.bootDriver, 'elsewhere'],
  [eventType.runtimeDriver, 'elsewhere'],
  [eventType.firmwareBlob, 'elsewhere'],
  [eventType.firmwareBlob2, 'elsewhere'],
  [eventType.handoffTables, 'elsewhere'],
  [eventType.handoffTables2, 'elsewhere'],
  [eventType.separator, 'data'],
  [eventType.gpt, 'data'],
  [eventType.gpt2, 'data'],
  [eventType.variableBoot, 'value or variable'],
  [eventType.variableBoot2, 'value or variable'],
  [eventType.variableDriverConfig, 'variable or value'],
  [eventType.variableAuthority, 'variable or value'],
  [eventType.spdmDevicePolicy, 'variable or value'],
  [eventType.spdmDeviceAuthority, 'variable or value'],
  [eventType.eventTag, 'tagged'],
  [eventType.ipl, 'loader text'],
]);

/**
 * The bytes that each event's digest is of, as `measuredBytes` finds them; null too where an event lacks the digest of
 * one of these banks: what a bank does not hold, it does not vouch for.
 */
export function allMeasuredBytes(
  bytes: Buffer,
  log: RawLog,
  banks: readonly LogBank[],
): readonly (Buffer | null)[] {
  const columns = bankColumns(log, banks);
  const measured: (Buffer | null)[] = [];
  for (let index = 0; index < log.count; index++) measured.push(measuredIn(columns, bytes, log, index, true));
  return measured;
}

/** Where the digests of one bank lie. */
interface BankColumn {
  /** As node:crypto calls its hash. */
  readonly algorithm: string;
  readonly size: number;
  readonly offsets: Uint32Array;
}

function bankColumns(log: RawLog, banks: readonly LogBank[]): readonly BankColumn[] {
  return banks.map((bank) => ({
    algorithm: cryptoName(bank),
    size: logBankBytes[bank],
    offsets: log.digestOffsets[bank] ?? new Uint32Array(log.count),
  }));
}

/** True if the event has no digest of one of these banks. */
export function lacksDigest(log: RawLog, index: number, banks: readonly LogBank[]): boolean {
  for (const bank of banks) if ((log.digestOffsets[bank]?.[index] ?? 0) === 0) return true;
  return false;
}

/**
 * The bytes that an event's digest is of, where its data holds them. Tried one after the other, three at most;
 * they must agree with each digest of `banks` that the event has. Null if the digest is of something that the log does
 * not hold.
 */
export function measuredBytes(
  bytes: Buffer,
  log: RawLog,
  index: number,
  banks: readonly LogBank[] = log.banks,
): Buffer | null {
  return measuredIn(bankColumns(log, banks), bytes, log, index, false);
}

function measuredIn(
  columns: readonly BankColumn[],
  bytes: Buffer,
  log: RawLog,
  index: number,
  inEveryBank: boolean,
): Buffer | null {
  const kind = measuredByType.get(log.types[index]!) ?? 'text';
  if (kind === 'elsewhere') return null;
  if (inEveryBank) for (const { offsets } of columns) if (offsets[index] === 0) return null;
  for (let nth = 0; nth < tries; nth++) {
    const candidate = nthCandidate(kind, bytes, log, index, nth);
    if (candidate === null) continue;
    const agreeing = agreement(candidate, columns, bytes, index);
    if (agreeing !== 'none') return agreeing === 'all' ? candidate : null;
  }
  return null;
}

const tries = 3;

/** `some`: one digest is of these bytes and another one is not, so that no other bytes can satisfy both. */
function agreement(
  candidate: Buffer,
  columns: readonly BankColumn[],
  bytes: Buffer,
  index: number,
): 'all' | 'some' | 'none' {
  let agreeing = false;
  for (const { algorithm, size, offsets } of columns) {
    const digest = offsets[index]!;
    if (digest === 0) continue;
    if (!isDigest(hash(algorithm, candidate, 'latin1'), bytes, digest, size))
      return agreeing ? 'some' : 'none';
    agreeing = true;
  }
  return agreeing ? 'all' : 'none';
}

/** `digest` holds one byte a character, as crypto.hash gives it soonest. */
function isDigest(digest: string, bytes: Buffer, at: number, size: number): boolean {
  for (let i = 0; i < size; i++) if (digest.charCodeAt(i) !== bytes[at + i]) return false;
  return true;
}

/** The bytes that may have been hashed, the usual ones first. Null if there is no such possibility. */
function nthCandidate(
  kind: DigestSource,
  bytes: Buffer,
  log: RawLog,
  index: number,
  nth: number,
): Buffer | null {
  const from = log.dataOffsets[index]!;
  const end = log.ends[index]!;
  const whole = () => bytes.subarray(from, end);
  switch (kind) {
    case 'value or variable':
      if (nth === 0) return variableValue(bytes, from, end);
      return nth === 1 ? whole() : null;
    case 'variable or value':
      if (nth === 0) return whole();
      // Shims up to 15.2 logged one byte more than they measured.
      return nth === 1 ? variableValue(bytes, from, end) : bytes.subarray(from, Math.max(from, end - 1));
    case 'tagged':
      if (nth === 0) return whole();
      return nth === 1 && end - from >= tagBytes ? bytes.subarray(from + tagBytes, end) : null;
    case 'loader text':
    case 'text':
      return nthText(kind, bytes, log.pcrs[index]!, from, end, nth);
    default:
      return nth === 0 ? whole() : null;
  }
}

const tagBytes = 8;

/** Text is measured with or without the NUL that ends it, and GRUB's lines without the prefix that the log gives them. */
function nthText(
  kind: DigestSource,
  bytes: Buffer,
  pcr: number,
  from: number,
  end: number,
  nth: number,
): Buffer | null {
  const grub = grubPrefix(bytes, from, end);
  if (grub > 0) {
    const terminated = bytes[end - 1] === 0;
    if (nth === 0) return bytes.subarray(from + grub, terminated ? end - 1 : end);
    if (nth === 1) return terminated ? bytes.subarray(from + grub, end) : null;
    return bytes.subarray(from, end);
  }
  // In these PCRs a loader names the file or the variable whose content it measures.
  if (kind === 'loader text' && (pcr === filePcr || pcr === machineOwnerPcr)) return null;
  if (nth === 0) return bytes.subarray(from, end);
  if (nth === 2) return kind === 'loader text' ? completedText(bytes, from, end) : null;
  const terminator = terminatorBytes(bytes, from, end);
  return terminator === 0 ? null : bytes.subarray(from, end - terminator);
}

/** Where shim measures its lists of keys and its switches. */
export const machineOwnerPcr = 14;

/** systemd-boot before version 251 logged one byte less than it measured: half of the NUL of its UTF-16 text. */
function completedText(bytes: Buffer, from: number, end: number): Buffer | null {
  const half = (end - from) % 2 === 1 && end - from >= 5 && bytes[end - 1] === 0 && bytes[from + 1] === 0;
  return half ? Buffer.concat([bytes.subarray(from, end), Buffer.alloc(1)]) : null;
}

/** Bytes of the NUL that ends the text, UTF-16 or of one byte a character; 0 where there is none, or no text. */
function terminatorBytes(bytes: Buffer, from: number, end: number): number {
  if (end - from < 2 || bytes[end - 1] !== 0 || bytes[from]! < 0x20) return 0;
  const utf16 = end - from >= 4 && bytes[from + 1] === 0 && bytes[from + 3] === 0;
  if (!utf16) return 1;
  return bytes[end - 2] === 0 ? 2 : 0;
}
