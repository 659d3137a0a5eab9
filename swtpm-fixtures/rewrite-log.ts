import type { PcrBank } from '../attest-server/protocol/messages.ts';
import { parseRawLog, type RawEvent } from '../attest-server/verify/tpm/log-format.ts';

/** What becomes of one event; what is not named stays. */
export interface EventChange {
  /** Digests by bank, hex; banks that the event does not carry are ignored. */
  readonly digest?: Partial<Record<PcrBank, string>>;
  readonly data?: Buffer;
  /** Event type by its number. */
  readonly type?: number;
}

/** Writes a log anew with changes by event index; `'drop'` leaves the event out. Padding stays. */
export function rewriteLog(log: Buffer, changes: ReadonlyMap<number, EventChange | 'drop'>): Buffer {
  const { events } = parseRawLog(log);
  const parts: Buffer[] = [];
  let copied = 0;
  for (const event of events) {
    const change = changes.get(event.index);
    if (change === undefined) continue;
    parts.push(log.subarray(copied, event.offset));
    if (change !== 'drop') parts.push(rewriteEvent(log, event, change));
    copied = event.end;
  }
  parts.push(log.subarray(copied));
  return Buffer.concat(parts);
}

function rewriteEvent(log: Buffer, event: RawEvent, { digest, data, type }: EventChange): Buffer {
  const content = data ?? log.subarray(event.dataOffset, event.end);
  const head = Buffer.from(log.subarray(event.offset, event.dataOffset));
  if (type !== undefined) head.writeUInt32LE(type, 4);
  for (const { bank, offset } of event.digests) {
    const hex = digest?.[bank];
    if (hex !== undefined) head.write(hex, offset - event.offset, 'hex');
  }
  head.writeUInt32LE(content.length, head.length - 4);
  return Buffer.concat([head, content]);
}
