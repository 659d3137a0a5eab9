import type { Figures } from '../telemetry/figures.ts';
import type { Reporting } from '../telemetry/reporting.ts';
import type { Audit, AuditParts } from './open.ts';
import type { AuditRefusal } from './refusals.ts';

/** Reports checkpoints of the audit log, and contradictions between the log and its checkpoints. */
export function auditReport(reporting: Reporting): AuditParts['report'] {
  const { figures, logger, refused, countRefusal, fault } = reporting;
  const size = figures.gauge('audit_checkpoint_size', 'Entries that the latest checkpoint covers');
  const kept = figures.counter(
    'audit_checkpoint_writes_total',
    'Times that the latest checkpoint was written into the cluster',
    ['result'],
    ['done', 'failed'].map((result) => ({ result })),
  );
  let isCheckpointLost = false;
  /** Goes through the limits on refusals: a checkpoint that contradicts the log can be shown any number of times. */
  const contradicted = (
    about: Pick<AuditRefusal, 'text' | 'node' | 'isEnrolled' | 'address'>,
    fields: Readonly<Record<string, unknown>>,
    actor: string,
  ) =>
    refused(
      { ...about, code: 'audit_rollback', isProven: true },
      fields,
      { actor, action: 'audit_rollback' },
      'error',
    );
  return {
    checkpointed: (entries) => size.set(entries),

    rolledBack(text) {
      countRefusal('audit_rollback');
      logger.error({ code: 'audit_rollback', where: 'store' }, text);
    },

    contradicted: (node, text) =>
      contradicted(
        { text, node, isEnrolled: true, address: 'witness' },
        { node, where: 'hello' },
        `agent:${node}`,
      ),

    contradictedByCluster: (text) =>
      contradicted(
        { text, node: null, isEnrolled: false, address: 'cluster' },
        { where: 'cluster' },
        'cluster',
      ),

    checkpointKept(error) {
      kept.inc({ result: error === null ? 'done' : 'failed' });
      if (error !== null && !isCheckpointLost)
        logger.warn(
          { err: error },
          `the latest checkpoint of the audit log is not kept in the cluster: ${error.message}; it is tried again`,
        );
      isCheckpointLost = error !== null;
    },

    fault,
  };
}

export function auditFigures(
  figures: Figures,
  audit: { readonly ports: Pick<Audit['ports'], 'rollback'> },
): void {
  figures.sampled(
    'audit_rollback',
    '1 while the audit log is not the one that was signed, until somebody resolves it, else 0',
    () => (audit.ports.rollback() === null ? 0 : 1),
  );
}
