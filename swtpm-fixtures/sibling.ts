import { hash } from 'node:crypto';
import { eventData } from '../attest-server/verify/tpm/event-data.ts';
import {
  eventBytes,
  type LogEvent,
  type ParsedLog,
  parseEventLog,
} from '../attest-server/verify/tpm/event-log.ts';
import { pcrBanks } from '../attest-server/wire/messages.ts';
import { siblingFile } from './loader-files.ts';
import { digestsOf, remeasure } from './remeasure.ts';
import { type EventChange, rewriteLog } from './rewrite-log.ts';

/** How a machine differs from the one that was recorded. */
export interface SiblingChange {
  /** Changes each text that a loader measured, also where the kernel measures it again. */
  readonly text?: (text: string) => string;
  /** Its firmware's tables and boot order differ (PCR 1). */
  readonly firmwareSettings?: boolean;
  /** Its loader's configuration files differ; GRUB's carry identifiers of the machine. */
  readonly configuration?: boolean;
  /** Its initrd was built for itself. */
  readonly initrd?: boolean;
}

const kernelLine = /^(?:grub_)?kernel_cmdline:? (.*)$/s;

/** The log of a machine like the recorded one, as its firmware and loader would write it: every digest follows. */
export function siblingLog(log: Buffer, change: SiblingChange): Buffer {
  const parsed = parseEventLog(log);
  const lines = parsed.events.flatMap(
    ({ index }) => kernelLine.exec(textOf(parsed, index)?.replace(/\0$/, '') ?? '')?.[1] ?? [],
  );
  const changes = new Map<number, EventChange>();
  for (const event of parsed.events) {
    const changed = changedEvent(parsed, event, lines, change);
    if (changed !== null) changes.set(event.index, changed);
  }
  return rewriteLog(log, changes);
}

function changedEvent(
  log: ParsedLog,
  event: LogEvent,
  lines: readonly string[],
  { text = (same) => same, firmwareSettings, configuration, initrd }: SiblingChange,
): EventChange | null {
  const { pcr, stage, describes, type } = event;
  if (pcr === 8) return withText(log, event, text);
  if (pcr === 9 && stage === 'cmdline') return withLoadOptions(event, lines, text);
  const isFile = pcr === 9 && type === 'EV_IPL' && /(?:\.cfg|\.conf|grubenv)$/.test(describes);
  const changes =
    (pcr === 1 && type !== 'EV_SEPARATOR' && firmwareSettings) ||
    (isFile && configuration) ||
    (pcr === 9 && stage === 'initrd' && initrd);
  if (changes !== true) return null;
  // A boot variable's digest is that of its data, which every reader of the log recomputes.
  const next = type === 'EV_EFI_VARIABLE_BOOT' ? withOtherValue(log, event.index) : null;
  if (next === null && isFile) return { digest: digestsOf(() => siblingFile(describes)) };
  return next ?? { digest: digestsOf((bank) => `of the sibling: ${event.digests[bank]}`) };
}

function textOf(log: ParsedLog, index: number): string | null {
  const { type } = log.events[index]!;
  const data = eventData(type, eventBytes(log, index));
  return data.kind === 'text' ? data.text : null;
}

function withText(log: ParsedLog, { index }: LogEvent, change: (text: string) => string): EventChange | null {
  const before = eventBytes(log, index).toString('utf8');
  const after = change(before);
  return after === before ? null : remeasure(log, index, Buffer.from(after));
}

/** Linux's EFI stub measures what GRUB handed to it. */
function withLoadOptions(
  event: LogEvent,
  lines: readonly string[],
  change: (text: string) => string,
): EventChange | null {
  const options = (line: string) => Buffer.from(`BOOT_IMAGE=${line}`, 'utf16le');
  const line = lines.find((one) =>
    pcrBanks.some((bank) => event.digests[bank] === hash(bank, options(one), 'hex')),
  );
  if (line === undefined || change(line) === line) return null;
  return { digest: digestsOf(() => options(change(line))) };
}

function withOtherValue(log: ParsedLog, index: number): EventChange | null {
  const data = Buffer.from(eventBytes(log, index));
  data[data.length - 1]! ^= 1;
  return remeasure(log, index, data);
}
