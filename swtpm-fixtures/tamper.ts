import { hash } from 'node:crypto';
import { bankBytes, type PcrBank } from '../attest-server/protocol/messages.ts';
import { type EventData, eventData } from '../attest-server/verify/tpm/event-data.ts';
import { type EventLog, type LogEvent, parseEventLog } from '../attest-server/verify/tpm/event-log.ts';
import { measuredBytes } from '../attest-server/verify/tpm/event-verified.ts';
import { grubLine, kernelLine } from '../attest-server/verify/tpm/grub-text.ts';
import { parseRawLog, type RawEvent } from '../attest-server/verify/tpm/log-format.ts';
import { type EventChange, rewriteLog } from './rewrite-log.ts';

export type Tampering = 'kernel' | 'cmdline' | 'secureboot';

/** The words that a tampered command line has more. */
const addedWords = 'init=/bin/sh';

/**
 * The log of a boot that can exist and differs in one component: every event that measures it changes, in
 * every bank. A kernel is replaced in place, a command line is edited in the loader's menu (so its files stay),
 * Secure Boot is switched off in the firmware (so nothing is authorised any more).
 * @throws Error where the log does not measure the component
 */
export function tamper(log: Buffer, what: Tampering): Buffer {
  const opened = open(log);
  const changes = tamperings[what](opened);
  if (changes.size === 0)
    throw new Error(`this log does not measure ${components[what]}: choose another recorded boot`);
  return rewriteLog(log, changes);
}

/**
 * Changes one event alone, for attacks: such a log no machine writes.
 * @throws Error where the log has no such event
 */
export function tamperEvent(log: Buffer, index: number, change: EventChange): Buffer {
  const { events } = parseRawLog(log);
  if (events[index] === undefined) throw new Error(`event ${index}: the log has ${events.length} events`);
  return rewriteLog(log, new Map([[index, change]]));
}

const components: Readonly<Record<Tampering, string>> = {
  kernel: 'a kernel',
  cmdline: 'a kernel command line',
  secureboot: 'Secure Boot as switched on',
};

interface OpenLog {
  readonly bytes: Buffer;
  readonly raw: readonly RawEvent[];
  readonly log: EventLog;
}

type Changes = Map<number, EventChange | 'drop'>;

function open(bytes: Buffer): OpenLog {
  return { bytes, raw: parseRawLog(bytes).events, log: parseEventLog(bytes) };
}

const tamperings: Readonly<Record<Tampering, (log: OpenLog) => Changes>> = {
  kernel: (open) => changed(open, contentOf(open.log, 'kernel')),
  cmdline: changeCommandLine,
  secureboot: switchSecureBootOff,
};

function changeCommandLine(open: OpenLog): Changes {
  const events = contentOf(open.log, 'cmdline');
  const unified = events.some(({ describes }) => describes === '.cmdline');
  return changed(open, unified ? [...events, ...wrappers(open.log)] : events);
}

/** Unified images carry the command line themselves, so that the image changes with it. */
function wrappers({ events }: EventLog): LogEvent[] {
  return events.filter(
    ({ type, stage, describes }) =>
      type === 'EV_EFI_BOOT_SERVICES_APPLICATION' && stage === 'kernel' && describes.includes('\\'),
  );
}

/** Events of a stage that measure content: of each section of a unified image the first one is its name. */
function contentOf({ events }: EventLog, stage: 'kernel' | 'cmdline'): LogEvent[] {
  const names = new Set<string>();
  return events.filter((event) => {
    if (event.stage !== stage) return false;
    if (event.pcr !== 11 || names.has(event.describes)) return true;
    names.add(event.describes);
    return false;
  });
}

function changed(open: OpenLog, events: readonly LogEvent[]): Changes {
  return new Map(events.map(({ index }) => [index, changedEvent(open, index)]));
}

/** The event with other data, where its digest is of the data, else with a digest that follows from the old one. */
function changedEvent({ bytes, raw, log }: OpenLog, index: number): EventChange {
  const event = raw[index]!;
  const { type } = log.events[index]!;
  const old = bytes.subarray(event.dataOffset, event.end);
  const data = eventData(type, old);
  const measured = measuredBytes(bytes, event, type, data);
  if (data.kind !== 'text' || measured === null)
    return { digest: digests(event, (bank) => followingDigest(bytes, event, bank)) };
  const next = withAddedWords(old, data);
  const from = measured.byteOffset - old.byteOffset;
  const end = next.length - (old.length - from - measured.length);
  return { data: next, digest: digests(event, (bank) => hash(bank, next.subarray(from, end), 'hex')) };
}

function withAddedWords(old: Buffer, { text, utf16 }: EventData & { kind: 'text' }): Buffer {
  const grub = utf16 ? null : grubLine(text);
  const line = grub === null ? null : kernelLine(grub);
  const position = text.length - (line?.arguments.length ?? text.length);
  const words = position === text.length ? ` ${addedWords}` : `${addedWords} `;
  const encoding = utf16 ? 'utf16le' : 'utf8';
  const before = Buffer.byteLength(text.slice(0, position), encoding);
  return Buffer.concat([old.subarray(0, before), Buffer.from(words, encoding), old.subarray(before)]);
}

function followingDigest(bytes: Buffer, event: RawEvent, bank: PcrBank): string {
  const { offset } = event.digests.find((digest) => digest.bank === bank)!;
  const old = bytes.subarray(offset, offset + bankBytes[bank]);
  return hash(bank, Buffer.concat([Buffer.from('another than '), old]), 'hex');
}

function digests(event: RawEvent, of: (bank: PcrBank) => string): Partial<Record<PcrBank, string>> {
  return Object.fromEntries(event.digests.map(({ bank }) => [bank, of(bank)]));
}

function switchSecureBootOff({ bytes, raw, log }: OpenLog): Changes {
  const changes: Changes = new Map();
  for (const { index, type, describes } of log.events) {
    const event = raw[index]!;
    if (type === 'EV_EFI_VARIABLE_DRIVER_CONFIG' && describes === 'SecureBoot = 01') {
      const data = Buffer.from(bytes.subarray(event.dataOffset, event.end));
      const measured = measuredBytes(bytes, event, type, eventData(type, data));
      data[data.length - 1] = 0;
      const hashed = measured?.length === data.length ? data : data.subarray(-1);
      changes.set(index, { data, digest: digests(event, (bank) => hash(bank, hashed, 'hex')) });
    }
    // What authorised an image is measured only where images are checked; shim's revocation level always is.
    if (type === 'EV_EFI_VARIABLE_AUTHORITY' && changes.size > 0 && !describes.startsWith('SbatLevel'))
      changes.set(index, 'drop');
  }
  return changes;
}
