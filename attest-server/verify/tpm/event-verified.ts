import { hash } from 'node:crypto';
import { bankBytes } from '../../protocol/messages.ts';
import type { EventData } from './event-data.ts';
import { grubLine } from './grub-text.ts';
import type { RawEvent } from './log-format.ts';

/** Types whose digest is of something else than the event's data, or of nothing. */
const neverOfData: ReadonlySet<string> = new Set([
  'EV_NO_ACTION',
  'EV_EFI_BOOT_SERVICES_APPLICATION',
  'EV_EFI_BOOT_SERVICES_DRIVER',
  'EV_EFI_RUNTIME_SERVICES_DRIVER',
  'EV_EFI_PLATFORM_FIRMWARE_BLOB',
  'EV_EFI_PLATFORM_FIRMWARE_BLOB2',
]);

/**
 * The bytes that an event's digest is of, where they are in its data: tried one after the other, three at
 * most. Null where the digest is of something that the log does not hold.
 */
export function measuredBytes(bytes: Buffer, event: RawEvent, type: string, data: EventData): Buffer | null {
  const [first] = event.digests;
  if (first === undefined || neverOfData.has(type)) return null;
  const raw = bytes.subarray(event.dataOffset, event.end);
  const expected = bytes.toString('hex', first.offset, first.offset + bankBytes[first.bank]);
  for (const candidate of candidates(raw, data)) {
    if (hash(first.bank, candidate, 'hex') !== expected) continue;
    const agrees = event.digests.every(
      ({ bank, offset }) =>
        bank === first.bank ||
        hash(bank, candidate, 'hex') === bytes.toString('hex', offset, offset + bankBytes[bank]),
    );
    return agrees ? candidate : null;
  }
  return null;
}

function candidates(raw: Buffer, data: EventData): readonly Buffer[] {
  if (data.kind === 'variable') {
    const { valueOffset, valueSize } = data.variable;
    return [raw, raw.subarray(valueOffset, valueOffset + valueSize)];
  }
  if (data.kind === 'tag') return [raw, raw.subarray(8)];
  if (data.kind !== 'text') return [raw];
  const unterminated = withoutNul(raw, data.utf16 ? 2 : 1);
  const grub = data.utf16 ? null : grubLine(data.text);
  if (grub === null) return raw.length === unterminated.length ? [raw] : [raw, unterminated];
  return [unterminated.subarray(grub.prefix), raw.subarray(grub.prefix), raw];
}

function withoutNul(raw: Buffer, width: number): Buffer {
  const end = raw.length - width;
  if (end < 0) return raw;
  for (let i = end; i < raw.length; i++) if (raw[i] !== 0) return raw;
  return raw.subarray(0, end);
}
