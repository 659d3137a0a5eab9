import { asTheLogSays, bootState } from '../../../verify/boot/derive-boot-state.ts';
import { type LogBank, logBanks } from '../../../verify/tpm/algorithms.ts';
import {
  type EventLog,
  type LogEvent,
  type ParsedLog,
  parseEventLog,
  parseEventLogSoFar,
} from '../../../verify/tpm/event-log.ts';
import {
  parseUserSpaceLog,
  replayUserSpace,
  type UserSpaceEvent,
  type UserSpaceLog,
} from '../../../verify/tpm/user-space-log.ts';
import { pcrBanks } from '../../../wire/messages.ts';
import { printable } from '../../../wire/printable.ts';
import { Rejection } from '../../../wire/rejection.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import type { Format } from '../../output.ts';
import { readInput } from '../../read-file.ts';
import { shownDigits } from '../../readable.ts';
import { table } from '../../table.ts';
import { noteLines } from './note-lines.ts';

export interface EventLogOptions {
  readonly output: Format;
  readonly userspace?: string;
}

/** `eventlog FILE`: parse and replay a TCG log; exit 1 for one that cannot be parsed. */
export async function showEventLog(
  { io, exitWith }: CliContext,
  file: string,
  options: EventLogOptions,
): Promise<void> {
  const format = options.output === 'json' ? 'json' : 'table';
  if (file === '-' && options.userspace === '-')
    throw new CliError(
      'standard input cannot be both logs',
      'Name the file of one of the two logs.',
      exit.usage,
    );
  const bytes = await readInput(io, file);
  const later = options.userspace === undefined ? null : await readInput(io, options.userspace);
  let read = file;
  try {
    const log = parseEventLog(bytes);
    read = options.userspace ?? file;
    const text = renderEventLog(withBootNotes(log), format, later && parseUserSpaceLog(later));
    io.out(text.split('\n').map(printable).join('\n'));
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    const soFar = read === file ? readableEvents(bytes) : null;
    if (format === 'json') io.out(`${JSON.stringify({ ...eventLogError(error), ...soFar })}\n`);
    else if (soFar !== null) io.out(soFarPage(soFar).split('\n').map(printable).join('\n'));
    const isEmpty = read === file && bytes.length === 0;
    const named = read === '-' ? 'standard input' : read;
    const fault = isEmpty
      ? `${named} is empty: offset 0, field log: no event log has less than one event`
      : eventLogFault(named, error).trimEnd();
    const hint = looksLikeJson(bytes)
      ? `It looks like JSON. A bundle is judged by another command:\n    assay verify ${printable(file)}`
      : whatToName(read === file);
    io.err(`assay: ${printable(fault)}\n  ${isEmpty ? whyEmpty : hint}\n`);
    exitWith(exit.error);
  }
}

/** The log with the notes of its boot, as if all of it were quoted. */
function withBootNotes(log: ParsedLog): EventLog {
  const { format, banks, startupLocality, events, notes } = log;
  const ofBoot = bootState(log, asTheLogSays(log)).notes;
  return { format, banks, startupLocality, events, notes: [...ofBoot, ...notes] };
}

/** No firmware log begins so: its first event is of PCR 0. */
function looksLikeJson(bytes: Buffer): boolean {
  return /^\s*\{/.test(bytes.toString('latin1', 0, 64));
}

const whyEmpty =
  'Copy it as root. The kernel shows an empty one if the firmware hands over none: is the TPM switched on, and does the machine boot by UEFI?';

type PartialLog = Omit<EventLog, 'banks'>;

/** The events of a log that is cut or damaged, as far as it can be read; null if not even the first can. */
function readableEvents(bytes: Buffer): PartialLog | null {
  try {
    const { format, startupLocality, events, notes } = parseEventLogSoFar(bytes).log;
    return { format, startupLocality, events, notes };
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    return null;
  }
}

/** Without PCRs: those of a part of a log are no machine's. */
function soFarPage({ format, events, notes }: PartialLog): string {
  const bank = logBanks.findLast((one) => events.some(({ digests }) => digests[one] !== undefined));
  return [
    `${format} log, of which ${events.length} events can be read`,
    ...eventLines({ events, notes, banks: bank === undefined ? {} : { [bank]: {} } }),
    '',
  ].join('\n');
}

/**
 * The output of `assay eventlog`, with its last line feed. JSON: one object in the shape of EventLog, and under `userspace`
 * what systemd's log adds, if it is given.
 */
export function renderEventLog(
  log: EventLog,
  output: 'table' | 'json',
  userSpace: UserSpaceLog | null = null,
): string {
  const after = userSpace && { events: userSpace.events, banks: banksAfter(log, userSpace) };
  if (output === 'table') return page(log, after);
  return `${JSON.stringify({ ...shape(log), ...(after && { userspace: after }) })}\n`;
}

/** The log of user space, and what every PCR holds after it. */
interface AfterUserSpace {
  readonly events: readonly UserSpaceEvent[];
  readonly banks: EventLog['banks'];
}

function banksAfter(log: EventLog, userSpace: UserSpaceLog): EventLog['banks'] {
  return Object.fromEntries(
    pcrBanks.flatMap((bank) => {
      const before = log.banks[bank];
      return before === undefined ? [] : [[bank, replayUserSpace(userSpace, bank, before)]];
    }),
  );
}

/** The object that `-o json` prints for a log that cannot be parsed. */
export interface EventLogError {
  readonly error: {
    readonly code: string;
    readonly offset: number | null;
    readonly field: string | null;
    readonly text: string;
  };
}

export function eventLogError({ code, offset, field, message }: Rejection): EventLogError {
  return { error: { code, offset: offset ?? null, field: field ?? null, text: message } };
}

/** One line for stderr: where, which field, why. */
export function eventLogFault(file: string, { offset, field, message }: Rejection): string {
  return `${file} cannot be read as an event log: offset ${offset ?? 0}, field ${field ?? 'log'}: ${message}\n`;
}

function whatToName(firmware: boolean): string {
  return firmware
    ? 'Name a firmware log, such as a copy of /sys/kernel/security/tpm0/binary_bios_measurements.'
    : 'Name a log of systemd, such as a copy of /run/log/systemd/tpm2-measure.log.';
}

function shape({ format, banks, startupLocality, events, notes }: EventLog): EventLog {
  return { format, banks, startupLocality, events, notes };
}

function page(log: EventLog, after: AfterUserSpace | null): string {
  const locality = log.startupLocality === null ? '' : `, startup locality ${log.startupLocality}`;
  return [
    `${log.format} log, ${log.events.length} events${locality}`,
    ...eventLines(log),
    ...pcrLines('PCRs after replay', log.banks),
    ...noteLines(log.notes),
    ...(after === null ? [] : userSpaceLines(after)),
    '',
  ].join('\n');
}

function userSpaceLines({ events, banks }: AfterUserSpace): readonly string[] {
  const rows = events.map(({ index, pcr, type, describes, verified }) => [
    String(index),
    String(pcr),
    type,
    verified ? 'yes' : 'no',
    describes,
  ]);
  return [
    `user space, ${events.length} events`,
    ...lines(userSpaceHeader, rows),
    ...pcrLines('PCRs after user space', banks),
  ];
}

function pcrLines(title: string, banks: EventLog['banks']): readonly string[] {
  return Object.entries(banks).flatMap(([bank, pcrs]) => [
    `${title}, ${bank}`,
    ...Object.entries(pcrs).map(([pcr, value]) => `${pcr.padStart(4)}  ${value}`),
  ]);
}

function lines(header: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  return table(header, rows).trimEnd().split('\n');
}

const userSpaceHeader = ['EVENT', 'PCR', 'TYPE', 'VERIFIED', 'DESCRIBES'] as const;
/** A note stands beside its event by its code, and says more below. */
function eventLines({
  events,
  banks,
  notes,
}: Pick<EventLog, 'events' | 'banks' | 'notes'>): readonly string[] {
  const bank = banks.sha256 === undefined ? firstOf(banks) : 'sha256';
  const header = ['EVENT', 'PCR', 'TYPE', 'STAGE', 'VERIFIED', (bank ?? 'digest').toUpperCase(), 'DESCRIBES'];
  const noted = new Map<number, string[]>();
  for (const { event, code } of notes)
    if (event !== null) noted.set(event, [...(noted.get(event) ?? []), `[${code}]`]);
  const rows = events.map((event: LogEvent) => [
    String(event.index),
    String(event.pcr),
    event.type,
    event.stage,
    event.verified ? 'yes' : 'no',
    (bank && event.digests[bank]?.slice(0, shownDigits)) ?? '-',
    [event.describes, ...(noted.get(event.index) ?? [])].join(' ').trim(),
  ]);
  return lines(header, rows);
}

function firstOf(banks: EventLog['banks']): LogBank | undefined {
  return logBanks.find((bank) => banks[bank] !== undefined);
}
