import { hash } from 'node:crypto';
import { cryptoName, type LogBank, logBankBytes } from '../../attest-server/verify/tpm/algorithms.ts';
import { eventBytes, type LogEvent, parseEventLog } from '../../attest-server/verify/tpm/event-log.ts';
import { parseRawLog } from '../../attest-server/verify/tpm/log-format.ts';
import { digestsOf, measuredSpan as spanIn } from '../../swtpm-fixtures/remeasure.ts';
import { rewriteLog } from '../../swtpm-fixtures/rewrite-log.ts';
import { ids, u16, u32 } from '../attest-server/verify/tpm/log-builder.ts';

/** The only event that this holds for. @throws Error where it is none, or several */
export function eventWhere(log: Buffer, holds: (event: LogEvent) => boolean): LogEvent {
  const found = parseEventLog(log).events.filter(holds);
  const [only] = found;
  if (only === undefined || found.length > 1) throw new Error(`${found.length} events are such a one`);
  return only;
}

export function eventsWhere(log: Buffer, holds: (event: LogEvent) => boolean): readonly LogEvent[] {
  return parseEventLog(log).events.filter(holds);
}

/** The event's data, a copy. */
export function dataOf(log: Buffer, index: number): Buffer {
  return Buffer.from(eventBytes(parseEventLog(log), index));
}

/** Which part of an event's data its digest is of. @throws Error where it is of something else */
export function measuredSpan(log: Buffer, index: number): { readonly from: number; readonly to: number } {
  const span = spanIn(parseEventLog(log), index);
  if (span === null) throw new Error(`event ${index} measures something that the log does not hold`);
  return span;
}

/** A new event before this one; its digests are of `measured`, in every bank of the log. */
export function insertBefore(
  log: Buffer,
  index: number,
  event: { readonly pcr: number; readonly type: number; readonly data: Buffer; readonly measured?: Buffer },
): Buffer {
  const { offsets, ends, count } = parseRawLog(log);
  const at = index < count ? offsets[index] : ends[count - 1];
  return Buffer.concat([log.subarray(0, at), written(log, event), log.subarray(at)]);
}

/** The same after the last one. */
export function append(log: Buffer, event: Parameters<typeof insertBefore>[2]): Buffer {
  return insertBefore(log, parseRawLog(log).count, event);
}

function written(
  log: Buffer,
  { pcr, type, data, measured = data }: Parameters<typeof insertBefore>[2],
): Buffer {
  const banks = parseRawLog(log).banks;
  const digests = banks.map((bank) => Buffer.concat([u16(ids[bank]), digestOf(bank, measured, type)]));
  return Buffer.concat([u32(pcr), u32(type), u32(banks.length), ...digests, u32(data.length), data]);
}

function digestOf(bank: LogBank, measured: Buffer, type: number): Buffer {
  return type === noAction ? Buffer.alloc(logBankBytes[bank]) : hash(cryptoName(bank), measured, 'buffer');
}

export const noAction = 3;

/** Other data for an event, measured as such: a machine that really measured this. */
export function remeasured(log: Buffer, index: number, data: Buffer, measured: Buffer = data): Buffer {
  return rewriteLog(log, new Map([[index, { data, digest: digestsOf(() => measured) }]]));
}

/** UEFI_VARIABLE_DATA with a longer or shorter value. */
export function withValue(data: Buffer, value: (old: Buffer) => Buffer): Buffer {
  const start = 32 + Number(data.readBigUInt64LE(16)) * 2;
  const next = value(data.subarray(start));
  const head = Buffer.from(data.subarray(0, start));
  head.writeBigUInt64LE(BigInt(next.length), 24);
  return Buffer.concat([head, next]);
}

/** Other data for an event whose digest stays: a log that was edited. */
export function edited(log: Buffer, index: number, data: Buffer): Buffer {
  return rewriteLog(log, new Map([[index, { data }]]));
}

export function retyped(log: Buffer, index: number, type: number): Buffer {
  return rewriteLog(log, new Map([[index, { type }]]));
}

export function without(log: Buffer, indices: readonly number[]): Buffer {
  return rewriteLog(log, new Map(indices.map((index) => [index, 'drop' as const])));
}

/** A boot of which no kernel was measured, as some ways to start one leave it. */
export function withoutKernel(log: Buffer): Buffer {
  return without(
    log,
    eventsWhere(log, ({ stage }) => stage === 'kernel').map(({ index }) => index),
  );
}

/** Two events that stand side by side, in the other order. */
export function swapped(log: Buffer, index: number): Buffer {
  const { offsets, ends } = parseRawLog(log);
  const [first, second, end] = [offsets[index] ?? 0, offsets[index + 1] ?? 0, ends[index + 1] ?? 0];
  return Buffer.concat([
    log.subarray(0, first),
    log.subarray(second, end),
    log.subarray(first, second),
    log.subarray(end),
  ]);
}

/** The events in this order, of which each must be named once. */
export function reordered(log: Buffer, order: readonly number[]): Buffer {
  const { offsets, ends, count } = parseRawLog(log);
  if (new Set(order).size !== count || order.length !== count) throw new Error('not each event once');
  const head = log.subarray(0, offsets[0] ?? 0);
  const events = order.map((index) => log.subarray(offsets[index] ?? 0, ends[index] ?? 0));
  return Buffer.concat([head, ...events, log.subarray(ends[count - 1] ?? 0)]);
}
