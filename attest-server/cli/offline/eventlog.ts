import type { Rejection } from '../../protocol/rejection.ts';
import type { EventLog, LogEvent } from '../../verify/tpm/event-log.ts';

/** What `assay eventlog` prints, with its last line feed. JSON: one object in the shape of EventLog. */
export function renderEventLog(log: EventLog, output: 'table' | 'json'): string {
  return output === 'json' ? `${JSON.stringify(shape(log))}\n` : table(log);
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
  return `${file} is no event log that can be read: offset ${offset ?? 0}, field ${field ?? 'log'}: ${message}\n`;
}

function shape({ format, banks, startupLocality, events, notes }: EventLog): EventLog {
  return { format, banks, startupLocality, events, notes };
}

function table(log: EventLog): string {
  const rows = log.events.map(row);
  const widths = header.map((title, i) =>
    Math.max(title.length, ...rows.map((cells) => cells[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  const locality = log.startupLocality === null ? '' : `, startup locality ${log.startupLocality}`;
  return [
    `${log.format} log, ${log.events.length} events${locality}`,
    line(header),
    ...rows.map(line),
    ...Object.entries(log.banks).flatMap(([bank, pcrs]) => [
      `PCRs after replay, ${bank}`,
      ...Object.entries(pcrs).map(([pcr, value]) => `${pcr.padStart(4)}  ${value}`),
    ]),
    ...log.notes.map(
      ({ event, code, text }) => `note ${code}${event === null ? '' : ` (event ${event})`}: ${text}`,
    ),
    '',
  ].join('\n');
}

const header = ['EVENT', 'PCR', 'TYPE', 'STAGE', 'VERIFIED', 'DESCRIBES'] as const;

function row(event: LogEvent): readonly string[] {
  const { index, pcr, type, stage, verified, describes } = event;
  return [String(index), String(pcr), type, stage, verified ? 'yes' : 'no', describes];
}
