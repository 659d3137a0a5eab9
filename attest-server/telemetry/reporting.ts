import type { Logger } from 'pino';
import type { AuditRefusal, RefusalOutcome } from '../audit/refusals.ts';
import type { AuditEvent } from '../formats/audit.ts';
import { storageCauseOf } from '../formats/server-fault.ts';
import { outsideText } from '../wire/printable.ts';
import { type ReasonCode, reasonCodes } from '../wire/reasons.ts';
import type { Figures } from './figures.ts';
import { LogLimiter } from './log-limiter.ts';

/** Means by which a room reports: its `telemetry.ts` says what an event does to metrics, log and audit log. */
export interface Reporting {
  readonly figures: Figures;
  readonly logger: Logger;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Writes an entry of the audit log: by the server and without a code, unless `change` says otherwise. */
  audit(
    action: AuditEvent['action'],
    subject: string,
    detail: AuditEvent['detail'],
    change?: Partial<Pick<AuditEvent, 'actor' | 'code'>>,
  ): void;
  /**
   * Counts what was refused, and has it in log and audit log as far as there is room: what repeats is counted, and the next
   * entry says how often. @param fields of the log's line
   */
  refused(
    refused: AuditRefusal,
    fields: Readonly<Record<string, unknown>>,
    change?: Partial<Pick<AuditEvent, 'actor' | 'action'>>,
    level?: 'warn' | 'error',
  ): void;
  /** The same of what a person or program may not do, as the audit log names him. */
  refusedTo(actor: string, refused: Omit<AuditRefusal, 'address' | 'isProven'>): void;
  /** Counts it, and says it nowhere. */
  countRefusal(code: ReasonCode): void;
  /** The server failed. */
  fault(error: unknown, where: string): void;
  readonly storage: StorageTrouble;
  /** Decides what of a flood the log says. */
  limiter(): LogLimiter;
}

/** Entries of the audit log while nothing can be stored. */
export interface StorageTrouble {
  /** Nothing can be stored: a fault that follows from it is no news. */
  begins(): void;
  /** Entries that wait to be written. */
  readonly late: number;
  /** Those that found no room here either. */
  readonly lost: number;
  /** Writes those that wait, and restarts the count. */
  ends(): void;
}

/** Where events go that belong into the audit log. */
export interface AuditPort {
  /** Whether a refusal has an entry, or is counted by one. */
  note(refusal: AuditRefusal, at: number): RefusalOutcome;
  write(event: AuditEvent): Promise<void>;
}

export interface ReportingParts {
  readonly figures: Figures;
  readonly logger: Logger;
  readonly now: () => number;
}

/** How many audit entries wait for a disk that takes them. */
const mostLate = 1000;

export function createReporting({ figures, logger, now }: ReportingParts): {
  readonly reporting: Reporting;
  /** Those that came before wait for it. */
  auditTo(audit: AuditPort): void;
} {
  const refusals = figures.counter(
    'refusals_total',
    'Messages and connections that were refused',
    ['code'],
    reasonCodes.map((code) => ({ code })),
  );
  const auditFailures = figures.counter(
    'audit_write_failures_total',
    'Audit entries that could not be written',
  );
  const waiting: AuditEvent[] = [];
  let auditLog: AuditPort = {
    note: () => ({ event: null, isRepeated: false }),
    write: async (event) => void waiting.push(event),
  };
  const late: AuditEvent[] = [];
  let lost = 0;
  let isStorageFaulty = false;
  const write = (event: AuditEvent): void => {
    auditLog.write(event).catch((error: unknown) => {
      const isKept = storageCauseOf(error) !== null && late.length < mostLate;
      // Those of strangers wait as a rule while the disk is full: nobody is to be woken by them.
      if (!isKept || event.action !== 'refuse') auditFailures.inc();
      if (isKept) late.push(event);
      else lost += 1;
      logger[isKept ? 'warn' : 'error'](
        { err: error, action: event.action, subject: event.subject },
        isKept ? 'an audit entry waits until it can be written' : 'an audit entry could not be written',
      );
    });
  };
  const refused: Reporting['refused'] = (refusal, fields, change = {}, level = 'warn') => {
    refusals.inc({ code: refusal.code });
    const { event, isRepeated } = auditLog.note(refusal, now());
    logger[isRepeated ? 'debug' : level](
      { code: refusal.code, ...fields, ...event?.detail },
      outsideText(refusal.text),
    );
    if (event !== null) write({ ...event, ...change });
  };
  const reporting: Reporting = {
    figures,
    logger,
    now,
    audit: (action, subject, detail, change) =>
      write({ at: now(), actor: 'server', action, subject, code: null, detail, ...change }),
    refused,
    refusedTo(actor, refusal) {
      const { node } = refusal;
      refused({ ...refusal, ...whoIs(actor) }, node === null ? { actor } : { node, actor }, { actor });
    },
    countRefusal: (code) => refusals.inc({ code }),
    fault(error, where) {
      const isKnown = isStorageFaulty && storageCauseOf(error) !== null;
      logger[isKnown ? 'debug' : 'error']({ err: error, where }, 'the server failed');
    },
    storage: {
      begins() {
        isStorageFaulty = true;
      },
      get late() {
        return late.length;
      },
      get lost() {
        return lost;
      },
      ends() {
        isStorageFaulty = false;
        lost = 0;
        for (const event of late.splice(0)) write(event);
      },
    },
    limiter: () => new LogLimiter(),
  };
  return {
    reporting,
    auditTo(next) {
      auditLog = next;
      for (const event of waiting.splice(0)) write(event);
    },
  };
}

/** Who acts, as the audit log names him: a person or program with a token, or an address, which proves nothing. */
function whoIs(actor: string): Pick<AuditRefusal, 'address' | 'isProven'> {
  return { address: actor.replace(/^address:/, ''), isProven: /^(token|kubernetes):/.test(actor) };
}
