import { type EventData, eventData } from '../attest-server/verify/tpm/event-data.ts';
import {
  type EventLog,
  eventBytes,
  type LogEvent,
  type ParsedLog,
  parseEventLog,
} from '../attest-server/verify/tpm/event-log.ts';
import { grubLine, kernelLine } from '../attest-server/verify/tpm/grub-text.ts';
import { parseRawLog } from '../attest-server/verify/tpm/log-format.ts';
import { digestsOf, remeasure } from './remeasure.ts';
import { type EventChange, rewriteLog } from './rewrite-log.ts';

/** Parts of a boot that `tamper` can change. */
export const tamperings = ['kernel', 'cmdline', 'secureboot'] as const;
export type Tampering = (typeof tamperings)[number];

/** The argument that is added to a tampered command line. */
const addedArgument = 'init=/bin/sh';

/**
 * The log of a boot that can exist and differs in one component: every event that measures it changes, in
 * every bank. A kernel is replaced in place, a command line is edited in the loader's menu (so its files stay),
 * Secure Boot is switched off in the firmware (so nothing is authorised any more).
 * @throws Error where the log does not measure the component
 */
export function tamper(log: Buffer, what: Tampering): Buffer {
  const changes = changesOf[what](parseEventLog(log));
  if (changes.size === 0)
    throw new Error(`this log does not measure ${components[what]}: choose another recorded boot`);
  return rewriteLog(log, changes);
}

/**
 * Changes one event alone, for attacks: no machine writes such a log.
 * @throws Error where the log has no such event
 */
export function tamperEvent(log: Buffer, index: number, change: EventChange): Buffer {
  const { count } = parseRawLog(log);
  if (!(index >= 0 && index < count)) throw new Error(`event ${index}: the log has ${count} events`);
  return rewriteLog(log, new Map([[index, change]]));
}

const components: Readonly<Record<Tampering, string>> = {
  kernel: 'a kernel',
  cmdline: 'a kernel command line',
  secureboot: 'Secure Boot as switched on',
};

type Changes = Map<number, EventChange | 'drop'>;

const changesOf: Readonly<Record<Tampering, (log: ParsedLog) => Changes>> = {
  kernel: (log) => changed(log, contentOf(log, 'kernel')),
  cmdline: changeCommandLine,
  secureboot: switchSecureBootOff,
};

function changeCommandLine(log: ParsedLog): Changes {
  const events = contentOf(log, 'cmdline');
  const unified = events.some(({ describes }) => describes === '.cmdline');
  return changed(log, unified ? [...events, ...wrappers(log)] : events);
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

function changed(log: ParsedLog, events: readonly LogEvent[]): Changes {
  return new Map(events.map((event) => [event.index, changedEvent(log, event)]));
}

/** The event with other data, where its digest is of the data, else with a digest that follows from the old one. */
function changedEvent(log: ParsedLog, event: LogEvent): EventChange {
  const old = eventBytes(log, event.index);
  const data = eventData(event.type, old);
  const next = data.kind === 'text' ? remeasure(log, event.index, withAddedArgument(old, data)) : null;
  return next ?? { digest: digestsOf((bank) => following(event.digests[bank] ?? '')) };
}

function withAddedArgument(old: Buffer, { text, utf16 }: EventData & { kind: 'text' }): Buffer {
  const grub = utf16 ? null : grubLine(text);
  const line = grub === null ? null : kernelLine(grub);
  const position = text.length - (line?.arguments.length ?? text.length);
  const added = position === text.length ? ` ${addedArgument}` : `${addedArgument} `;
  const encoding = utf16 ? 'utf16le' : 'utf8';
  const before = Buffer.byteLength(text.slice(0, position), encoding);
  return Buffer.concat([old.subarray(0, before), Buffer.from(added, encoding), old.subarray(before)]);
}

function following(digest: string): Buffer {
  return Buffer.concat([Buffer.from('another than '), Buffer.from(digest, 'hex')]);
}

function switchSecureBootOff(log: ParsedLog): Changes {
  const changes: Changes = new Map();
  for (const { index, type, describes } of log.events) {
    if (type === 'EV_EFI_VARIABLE_DRIVER_CONFIG' && describes === 'SecureBoot = 01') {
      const data = Buffer.from(eventBytes(log, index));
      data[data.length - 1] = 0;
      changes.set(index, remeasure(log, index, data) ?? { data, digest: digestsOf(() => data.subarray(-1)) });
    }
    // What authorised an image is measured only where images are checked; shim's revocation level always is.
    if (type === 'EV_EFI_VARIABLE_AUTHORITY' && changes.size > 0 && !describes.startsWith('SbatLevel'))
      changes.set(index, 'drop');
  }
  return changes;
}
