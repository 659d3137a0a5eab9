import { Counter, Gauge, type Registry } from 'prom-client';
import type { ClusterMetrics } from '../kubernetes/api-health.ts';
import { clusterFaults, watchRestartReasons } from '../protocol/cluster.ts';
import { type MarkingMetrics, markingMetrics } from './marking-metrics.ts';
import { type WebhookMetrics, webhookMetrics } from './webhook-metrics.ts';

/** One method per event. No label but a node's name is free text, and none is a digest or a key. */
export interface Metrics extends ClusterMetrics {
  readonly marking: MarkingMetrics;
  readonly webhook: WebhookMetrics;
  /** Milliseconds since the epoch: until when the server's certificate and its authority are good. */
  certificatesExpire(server: { readonly notAfter: number; readonly authorityNotAfter: number }): void;
  /** The server's certificate is due, and could not be made anew. */
  renewalFailed(): void;
  /** A checkpoint of the audit log was signed. @param size entries */
  checkpointed(size: number): void;
  /** A checkpoint was written into the cluster, or could not be. */
  checkpointKept(isKept: boolean): void;
  /** Asked at each scrape whether the audit log is another one than was signed, and nobody has said why. */
  auditRollback(of: () => string | null): void;
}

export function createMetrics(registry: Registry): Metrics {
  const registers = [registry];
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Gauge<L>({ name: `assay_${name}`, help, labelNames: [...labelNames], registers });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter<L>({ name: `assay_${name}`, help, labelNames: [...labelNames], registers });
  const expiries = gauge('certificate_expiry_timestamp_seconds', 'When a certificate ends', ['certificate']);
  const renewalFailures = counter(
    'certificate_renewal_failures_total',
    'Failed renewals of the certificate of the server',
    [],
  );
  const checkpointSize = gauge('audit_checkpoint_size', 'Entries that the latest checkpoint covers', []);
  const kept = counter(
    'audit_checkpoint_writes_total',
    'Times that the latest checkpoint was written into the cluster',
    ['result'],
  );
  let auditRollback: Parameters<Metrics['auditRollback']>[0] = () => null;
  new Gauge({
    name: 'assay_audit_rollback',
    help: '1 while the audit log is not the one that was signed, until somebody resolves it, else 0',
    registers,
    collect() {
      this.set(auditRollback() === null ? 0 : 1);
    },
  });
  const kubeRequests = counter('kube_api_requests_total', 'Requests to the API of the cluster', [
    'verb',
    'resource',
    'code',
  ]);
  const watchRestarts = counter(
    'kube_watch_restarts_total',
    'Times that the watch of the Nodes began again, by why it ended',
    ['reason'],
  );
  const clusterFault = gauge(
    'cluster_fault',
    '1 while the Nodes of the cluster cannot be read, or a right is missing, else 0',
    ['cause'],
  );

  // A series that comes with its first event has no increase then: each is there from the start.
  for (const result of ['done', 'failed']) kept.inc({ result }, 0);
  for (const reason of watchRestartReasons) watchRestarts.inc({ reason }, 0);
  for (const cause of clusterFaults) clusterFault.set({ cause }, 0);

  return {
    marking: markingMetrics(registry),
    webhook: webhookMetrics(registry),
    certificatesExpire({ notAfter, authorityNotAfter }) {
      expiries.set({ certificate: 'server' }, notAfter / 1000);
      expiries.set({ certificate: 'authority' }, authorityNotAfter / 1000);
    },
    renewalFailed: () => renewalFailures.inc(),
    checkpointed: (size) => checkpointSize.set(size),
    checkpointKept: (isKept) => kept.inc({ result: isKept ? 'done' : 'failed' }),
    auditRollback(of) {
      auditRollback = of;
    },
    clusterAsked: (verb, resource, code) =>
      kubeRequests.inc({ verb, resource, code: code === null ? 'none' : String(code) }),
    clusterWatchRestarted: (reason) => watchRestarts.inc({ reason }),
    clusterFaults(faults) {
      for (const cause of clusterFaults) clusterFault.set({ cause }, faults.has(cause) ? 1 : 0);
    },
  };
}
