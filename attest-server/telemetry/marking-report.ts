import type { Logger } from 'pino';
import type { AuditRefusal } from '../audit/refusals.ts';
import type { MarkingParts } from '../marking/open.ts';
import type { AuditEvent } from '../protocol/audit.ts';
import type { Metrics } from './metrics.ts';

interface MarkingReporterParts {
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'marking'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Into log and audit log, as far as there is room: what repeats is counted. */
  readonly refused: (
    refused: AuditRefusal,
    fields: Readonly<Record<string, unknown>>,
    change: Partial<Pick<AuditEvent, 'actor' | 'action'>>,
  ) => void;
  readonly fault: (error: unknown, where: string) => void;
}

/** Of one reason, a line of the log in this time: each Node that cannot be marked would be one else. */
const lineEvery = 60_000;

/** What marking does to metrics, log and audit log. */
export function createMarkingReport(parts: MarkingReporterParts): MarkingParts['report'] {
  const { logger, metrics, now, refused, fault } = parts;
  const { marking } = metrics;
  const lines = new Map<string, { at: number; omitted: number }>();
  return {
    acted: marking.acted,
    suppressed: marking.suppressed,
    reconciled: marking.reconciled,

    failed(error, node) {
      marking.failed(error.reason);
      const line = lines.get(error.reason);
      const at = now();
      if (line !== undefined && at - line.at < lineEvery && at >= line.at) {
        line.omitted += 1;
        return;
      }
      logger.warn(
        { reason: error.reason, node, omitted: line?.omitted ?? 0, err: error },
        `marks cannot be written: ${error.message}; it is tried again`,
      );
      lines.set(error.reason, { at, omitted: 0 });
    },

    tampered(node, text) {
      const about = { node, isEnrolled: true, address: 'cluster', isProven: true } as const;
      refused(
        { ...about, code: 'label_tamper', text },
        { node },
        { actor: 'server', action: 'marks.tamper' },
      );
    },

    startupTaintRestored(node) {
      marking.startupTaintRestored();
      logger.info({ node }, 'a controller put its startup taint back; it is removed again, ever more seldom');
    },

    doubted(doubt) {
      marking.tripped(doubt);
      logger.warn({ scope: doubt }, doubtText[doubt]);
    },

    opened({ group, code, value }, nodes, isOurs) {
      marking.tripped(isOurs ? 'our_change' : 'drift');
      const why = isOurs ? `${value} turned them, and not what they show` : code;
      logger.error(
        { group, code, value, nodes },
        `taints of ${nodes} nodes of group ${group} are held back (${why}): decide with assay breaker release or hold`,
      );
    },

    leaseMoved(isOurs, holder) {
      if (isOurs) logger.info({ holder }, 'this server marks the Nodes of the cluster');
      else
        logger.warn(
          { holder },
          'this server marks no Node: another one has the lease, or it cannot be read or written',
        );
    },

    latchRestored(where) {
      logger.warn({ where }, `the latch was missing in the ${where}, and is there again`);
    },

    unprotected(faults) {
      if (faults.length === 0) logger.info('admission protects the marks of the cluster again');
      else logger.error({ code: 'marks_unprotected' }, faults.join('; '));
    },

    latchUnkept(text) {
      logger.warn(`the latch cannot be kept in the cluster: ${text}`);
    },

    fault,
  };
}

const doubtText = {
  api: 'the API of the cluster fails again and again: no taint of drift is put meanwhile',
  clock: 'the clock of the server was set by more than 30 seconds: no taint of drift is put for ten minutes',
  upgrade: 'another version of the server is new on this store: no taint of drift is put for ten minutes',
} as const;
