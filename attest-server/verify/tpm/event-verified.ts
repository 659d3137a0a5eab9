import { hash } from 'node:crypto';
import { bankBytes, type PcrBank } from '../../protocol/messages.ts';
import { variableValue } from './efi-structures.ts';
import { eventType } from './event-types.ts';
import { grubPrefix } from './grub-text.ts';
import type { RawLog } from './log-format.ts';

/** Types whose digest is of something else than the event's data, or of nothing. */
const neverOfData: ReadonlySet<number> = new Set([
  eventType.noAction,
  eventType.application,
  eventType.bootDriver,
  eventType.runtimeDriver,
  eventType.firmwareBlob,
  eventType.firmwareBlob2,
]);

/** Types whose data is no text, so that no NUL ends it. */
const binary: ReadonlySet<number> = new Set([
  eventType.separator,
  eventType.gpt,
  eventType.gpt2,
  eventType.handoffTables,
  eventType.handoffTables2,
]);

/**
 * The bytes that each event's digest is of, as `measuredBytes` finds them; null too where an event lacks the digest of
 * one of these banks: what a bank does not hold, it does not vouch for.
 */
export function allMeasuredBytes(
  bytes: Buffer,
  log: RawLog,
  banks: readonly PcrBank[],
): readonly (Buffer | null)[] {
  const measured: (Buffer | null)[] = [];
  for (let index = 0; index < log.count; index++)
    measured.push(lacksDigest(log, index, banks) ? null : measuredBytes(bytes, log, index, banks));
  return measured;
}

/** True where the event has no digest of one of these banks. */
export function lacksDigest(log: RawLog, index: number, banks: readonly PcrBank[]): boolean {
  for (const bank of banks) if ((log.digestOffsets[bank]?.[index] ?? 0) === 0) return true;
  return false;
}

/**
 * The bytes that an event's digest is of, where they are in its data: a view. Tried one after the other, three at most;
 * they must agree with each digest of `banks` that the event has. Null where the digest is of something that the log does
 * not hold.
 */
export function measuredBytes(
  bytes: Buffer,
  log: RawLog,
  index: number,
  banks: readonly PcrBank[] = log.banks,
): Buffer | null {
  if (neverOfData.has(log.types[index]!)) return null;
  for (let nth = 0; nth < tries; nth++) {
    const candidate = nthCandidate(bytes, log, index, nth);
    if (candidate === null) continue;
    let agreeing = 0;
    let differing = 0;
    for (const bank of banks) {
      const digest = log.digestOffsets[bank]?.[index] ?? 0;
      if (digest === 0) continue;
      if (!isDigest(hash(bank, candidate, 'latin1'), bytes, digest, bankBytes[bank])) {
        differing++;
        break;
      }
      agreeing++;
    }
    if (differing === 0) return agreeing > 0 ? candidate : null;
    // One digest is of these bytes and another one is not: no other bytes can satisfy both.
    if (agreeing > 0) return null;
  }
  return null;
}

const tries = 3;

/** `digest` holds one byte a character, as crypto.hash gives it soonest. */
function isDigest(digest: string, bytes: Buffer, at: number, size: number): boolean {
  for (let i = 0; i < size; i++) if (digest.charCodeAt(i) !== bytes[at + i]) return false;
  return true;
}

/** What may have been hashed, the usual first. Null where there is no such possibility. */
function nthCandidate(bytes: Buffer, log: RawLog, index: number, nth: number): Buffer | null {
  const type = log.types[index]!;
  const from = log.dataOffsets[index]!;
  const end = log.ends[index]!;
  switch (type) {
    case eventType.variableBoot:
    case eventType.variableBoot2:
      // Most firmware hashes only the value of a boot variable.
      if (nth === 2) return null;
      return nth === 0 ? variableValue(bytes, from, end) : bytes.subarray(from, end);
    case eventType.variableDriverConfig:
    case eventType.variableAuthority:
      if (nth === 2) return null;
      return nth === 1 ? variableValue(bytes, from, end) : bytes.subarray(from, end);
    case eventType.eventTag:
      if (nth === 0) return bytes.subarray(from, end);
      return nth === 1 && end - from >= 8 ? bytes.subarray(from + 8, end) : null;
    default:
      return nthText(bytes, from, end, nth, binary.has(type));
  }
}

/** Text is measured with or without the NUL that ends it, and GRUB's lines without the prefix that the log gives them. */
function nthText(bytes: Buffer, from: number, end: number, nth: number, binary: boolean): Buffer | null {
  const grub = binary ? 0 : grubPrefix(bytes, from, end);
  if (grub === 0) {
    if (nth === 0) return bytes.subarray(from, end);
    const terminator = binary || nth === 2 ? 0 : terminatorBytes(bytes, from, end);
    return terminator === 0 ? null : bytes.subarray(from, end - terminator);
  }
  if (nth === 2) return bytes.subarray(from, end);
  const terminated = bytes[end - 1] === 0;
  if (nth === 0) return bytes.subarray(from + grub, terminated ? end - 1 : end);
  return terminated ? bytes.subarray(from + grub, end) : null;
}

/** Bytes of the NUL that ends the text, UTF-16 or of one byte a character; 0 where there is none, or no text. */
function terminatorBytes(bytes: Buffer, from: number, end: number): number {
  if (end - from < 2 || bytes[end - 1] !== 0 || bytes[from]! < 0x20) return 0;
  const utf16 = end - from >= 4 && bytes[from + 1] === 0 && bytes[from + 3] === 0;
  if (!utf16) return 1;
  return bytes[end - 2] === 0 ? 2 : 0;
}
