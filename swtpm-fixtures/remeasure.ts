import { hash } from 'node:crypto';
import { eventBytes, type ParsedLog } from '../attest-server/verify/tpm/event-log.ts';
import { measuredBytes } from '../attest-server/verify/tpm/event-verified.ts';
import { type PcrBank, pcrBanks } from '../attest-server/wire/messages.ts';
import type { EventChange } from './rewrite-log.ts';

/** Which part of an event's data its digest is of; null where it is of something that the log does not hold. */
export function measuredSpan(
  log: ParsedLog,
  index: number,
): { readonly from: number; readonly to: number } | null {
  const measured = measuredBytes(log.bytes, log.raw, index);
  if (measured === null) return null;
  const from = measured.byteOffset - eventBytes(log, index).byteOffset;
  return { from, to: from + measured.length };
}

/**
 * Other data for an event, with the digest of the same part of it: the bytes before and after that part keep their
 * number. Null where the digest is not of the data.
 */
export function remeasure(log: ParsedLog, index: number, data: Buffer): EventChange | null {
  const span = measuredSpan(log, index);
  if (span === null) return null;
  const measured = data.subarray(span.from, data.length - (eventBytes(log, index).length - span.to));
  return { data, digest: digestsOf(() => measured) };
}

/** A digest in each bank, for `rewriteLog`, which takes those that the event has. */
export function digestsOf(measured: (bank: PcrBank) => Buffer | string): Partial<Record<PcrBank, string>> {
  return Object.fromEntries(pcrBanks.map((bank) => [bank, hash(bank, measured(bank), 'hex')]));
}
