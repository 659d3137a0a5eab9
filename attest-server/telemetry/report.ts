import type { MarkingParts } from '../marking/open.ts';
import type { WebhookParts } from '../webhook/open.ts';
import { createMarkingReport } from './marking-report.ts';
import type { Metrics } from './metrics.ts';
import type { Reporting } from './reporting.ts';

export interface Reporter {
  readonly marking: MarkingParts['report'];
  readonly webhook: WebhookParts['report'];
  /** Another certificate of the server took the place of one that was good until `before`. Milliseconds since the epoch. */
  certificateRenewed(before: number, until: number): void;
  /** It is due, and could not be made anew: the one that is good until `until` is shown. */
  certificateNotRenewed(error: unknown, until: number): void;
  /** A checkpoint of the audit log was signed. @param size entries */
  checkpointed(size: number): void;
  /** The audit log in the store is shorter than it was, or another one. */
  rolledBack(text: string): void;
  /** So says the checkpoint that an agent of this name brought. */
  contradicted(node: string, text: string): void;
  /** So says the checkpoint that the cluster kept. */
  contradictedByCluster(text: string): void;
  /** A checkpoint was written into the cluster; null: it was. */
  checkpointKept(error: Error | null): void;
  fault(error: unknown, where: string): void;
}

/** What each event does to the metrics, the log and the audit log. */
export function createReporter(reporting: Reporting, metrics: Metrics): Reporter {
  const { logger, now, audit, refused, countRefusal, fault } = reporting;
  let isCheckpointLost = false;
  return {
    marking: createMarkingReport({ logger, metrics, now, refused, fault }),
    webhook: {
      delivered: metrics.webhook.delivered,
      failing: (text) => logger.warn(`the webhook was not told of what happened: ${text}; it is tried again`),
      works: (dropped) =>
        logger[dropped > 0 ? 'warn' : 'info']({ dropped }, 'the webhook takes messages again'),
      fault,
    },

    certificateRenewed(before, until) {
      const detail = { before: new Date(before).toISOString(), until: new Date(until).toISOString() };
      logger.info(detail, 'the server made itself a new certificate');
      audit('certificate.renew', 'server', detail);
    },

    certificateNotRenewed(error, until) {
      metrics.renewalFailed();
      logger.error(
        { err: error, until: new Date(until).toISOString() },
        'the certificate of the server is due for renewal, but could not be renewed: the server keeps the old one',
      );
    },

    checkpointed: metrics.checkpointed,

    rolledBack(text) {
      countRefusal('audit_rollback');
      logger.error({ code: 'audit_rollback', where: 'store' }, text);
    },

    contradicted(node, text) {
      const about = {
        code: 'audit_rollback',
        node,
        isEnrolled: true,
        address: 'witness',
        isProven: true,
      } as const;
      // Whoever has such a checkpoint can show it as often as he likes.
      refused(
        { ...about, text },
        { node, where: 'hello' },
        { actor: `agent:${node}`, action: 'audit_rollback' },
        'error',
      );
    },

    contradictedByCluster(text) {
      const about = {
        code: 'audit_rollback',
        node: null,
        isEnrolled: false,
        address: 'cluster',
        isProven: true,
      } as const;
      refused(
        { ...about, text },
        { where: 'cluster' },
        { actor: 'cluster', action: 'audit_rollback' },
        'error',
      );
    },

    checkpointKept(error) {
      metrics.checkpointKept(error === null);
      if (error === null) isCheckpointLost = false;
      else if (!isCheckpointLost) {
        isCheckpointLost = true;
        logger.warn(
          { err: error },
          `the latest checkpoint of the audit log is not kept in the cluster: ${error.message}; it is tried again`,
        );
      }
    },

    fault,
  };
}
