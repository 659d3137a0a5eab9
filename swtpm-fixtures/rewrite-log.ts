import type { LogBank } from '../attest-server/verify/tpm/algorithms.ts';
import { parseRawLog, type RawLog } from '../attest-server/verify/tpm/log-format.ts';

/** How one event changes; members that are left out stay as they are. */
export interface EventChange {
  /** Digests by bank, hex; banks that the event does not carry are ignored. */
  readonly digest?: Partial<Record<LogBank, string>>;
  readonly data?: Buffer;
  /** Event type by its number. */
  readonly type?: number;
}

/** Writes a log anew with changes by event index; `'drop'` leaves the event out. Padding stays. */
export function rewriteLog(log: Buffer, changes: ReadonlyMap<number, EventChange | 'drop'>): Buffer {
  const raw = parseRawLog(log);
  const parts: Buffer[] = [];
  let copied = 0;
  for (let index = 0; index < raw.count; index++) {
    const change = changes.get(index);
    if (change === undefined) continue;
    parts.push(log.subarray(copied, raw.offsets[index]));
    if (change !== 'drop') parts.push(rewriteEvent(log, raw, index, change));
    copied = raw.ends[index]!;
  }
  parts.push(log.subarray(copied));
  return Buffer.concat(parts);
}

function rewriteEvent(log: Buffer, raw: RawLog, index: number, { digest, data, type }: EventChange): Buffer {
  const offset = raw.offsets[index]!;
  const content = data ?? log.subarray(raw.dataOffsets[index], raw.ends[index]);
  const head = Buffer.from(log.subarray(offset, raw.dataOffsets[index]));
  if (type !== undefined) head.writeUInt32LE(type, 4);
  for (const bank of raw.banks) {
    const digestOffset = raw.digestOffsets[bank]?.[index] ?? 0;
    const hex = digest?.[bank];
    if (hex !== undefined && digestOffset !== 0) head.write(hex, digestOffset - offset, 'hex');
  }
  head.writeUInt32LE(content.length, head.length - 4);
  return Buffer.concat([head, content]);
}
