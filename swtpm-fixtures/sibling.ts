import { hash } from 'node:crypto';
import { type PcrBank, pcrBanks } from '../attest-server/protocol/messages.ts';
import { eventData } from '../attest-server/verify/tpm/event-data.ts';
import {
  eventBytes,
  type LogEvent,
  type ParsedLog,
  parseEventLog,
} from '../attest-server/verify/tpm/event-log.ts';
import { measuredBytes } from '../attest-server/verify/tpm/event-verified.ts';
import { type EventChange, rewriteLog } from './rewrite-log.ts';

/** How a machine differs from the one that was recorded. */
export interface SiblingChange {
  /** What becomes of each text that a loader measured, also where the kernel measures it again. */
  readonly text?: (text: string) => string;
  /** Its firmware's tables and boot order are others (PCR 1). */
  readonly firmwareSettings?: boolean;
  /** Its loader's configuration files are others; GRUB's carry identifiers of the machine. */
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
  if (type === 'EV_EFI_VARIABLE_BOOT') return withOtherValue(log, event);
  return { digest: digests(event, (bank, old) => hash(bank, `of the sibling: ${old}`, 'hex')) };
}

function textOf(log: ParsedLog, index: number): string | null {
  const { type } = log.events[index]!;
  const data = eventData(type, eventBytes(log, index));
  return data.kind === 'text' ? data.text : null;
}

function withText(log: ParsedLog, event: LogEvent, change: (text: string) => string): EventChange | null {
  const old = eventBytes(log, event.index);
  const measured = measuredBytes(log.bytes, log.raw, event.index);
  const before = old.toString('utf8');
  const after = change(before);
  if (measured === null || after === before) return null;
  const data = Buffer.from(after);
  const from = measured.byteOffset - old.byteOffset;
  const end = data.length - (old.length - from - measured.length);
  return { data, digest: digests(event, (bank) => hash(bank, data.subarray(from, end), 'hex')) };
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
  return { digest: digests(event, (bank) => hash(bank, options(change(line)), 'hex')) };
}

function withOtherValue(log: ParsedLog, { index, digests: old }: LogEvent): EventChange {
  const data = Buffer.from(eventBytes(log, index));
  const measured = measuredBytes(log.bytes, log.raw, index) ?? data;
  data[data.length - 1]! ^= 1;
  const hashed = data.subarray(data.length - measured.length);
  return { data, digest: digests({ digests: old }, (bank) => hash(bank, hashed, 'hex')) };
}

function digests(
  { digests: old }: Pick<LogEvent, 'digests'>,
  of: (bank: PcrBank, old: string) => string,
): Partial<Record<PcrBank, string>> {
  return Object.fromEntries(
    pcrBanks.flatMap((bank) => {
      const digest = old[bank];
      return digest === undefined ? [] : [[bank, of(bank, digest)]];
    }),
  );
}
