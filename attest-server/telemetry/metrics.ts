import { Counter, Gauge, type Registry } from 'prom-client';
import type { ClusterMetrics } from '../kubernetes/api-health.ts';
import { clusterFaults, watchRestartReasons } from '../protocol/cluster.ts';
import { type FaultCause, faultCauses, type StorageCause, storageCauses } from '../protocol/server-fault.ts';
import { type MarkingMetrics, markingMetrics } from './marking-metrics.ts';
import { type WebhookMetrics, webhookMetrics } from './webhook-metrics.ts';

const reloadedParts = ['declared', 'policy', 'roots', 'certificate', 'tokens', 'webhook'] as const;
export type ReloadedPart = (typeof reloadedParts)[number];

interface UnloadedPart {
  readonly part: ReloadedPart;
  /** Of a policy that was refused for it: how many trusted nodes it would make untrusted. */
  readonly refused: { readonly untrusted: number } | null;
}

/** One method per event. No label but a node's name is free text, and none is a digest or a key. */
export interface Metrics extends ClusterMetrics {
  readonly marking: MarkingMetrics;
  readonly webhook: WebhookMetrics;
  /** Milliseconds since the epoch: until when the server's certificate and its authority are good. */
  certificatesExpire(server: { readonly notAfter: number; readonly authorityNotAfter: number }): void;
  /** @param at seconds since the epoch */
  policyChanged(policy: string, at: number): void;
  /** Which serial of the signed directory is in force; 0: none. */
  declaredSerial(serial: number): void;
  /** The server's certificate is due, and could not be made anew. */
  renewalFailed(): void;
  /** The server failed: a write, or while it judged. */
  serverFailed(cause: FaultCause): void;
  /** For which cause nothing can be stored at present; null: it can. */
  storage(cause: StorageCause | null): void;
  /** A part of the configuration was read again and is faulty. */
  reloadFailed(part: ReloadedPart): void;
  /** A row of this table of the store cannot be read; reported once each. */
  rowUnreadable(table: string): void;
  /** A checkpoint of the audit log was signed. @param size entries */
  checkpointed(size: number): void;
  /** A checkpoint was written into the cluster, or could not be. */
  checkpointKept(isKept: boolean): void;
  /** Asked at each scrape whether the audit log is another one than was signed, and nobody has said why. */
  auditRollback(of: () => string | null): void;
  /** Parts whose old form is in force. */
  faultyParts(of: () => readonly UnloadedPart[]): void;
  /** Asked at each scrape whether an earlier policy is in force in place of the one that is given, and whether one is compared. */
  policyHistory(of: {
    /** Since when: milliseconds since the epoch. */
    rollback(): { readonly at: number } | null;
    comparing(): object | null;
  }): void;
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
  const policies = gauge('policy_last_change_timestamp_seconds', 'When another policy came into force', [
    'policy',
  ]);
  const declaredSerial = gauge(
    'declared_serial',
    'Serial of the signed directory that is in force; 0: none',
    [],
  );
  const serverFaults = counter(
    'server_faults_total',
    'Faults of the server itself while it judged or stored evidence',
    ['cause'],
  );
  const storageFault = gauge('server_fault', '1 while nothing can be stored for this cause, else 0', [
    'cause',
  ]);
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
  const reloadFailures = counter(
    'reload_failures_total',
    'Parts that were faulty when the server read them again',
    ['part'],
  );
  let faultyParts: Parameters<Metrics['faultyParts']>[0] = () => [];
  new Gauge({
    name: 'assay_reload_faulty',
    help: '1 while the old form of this part is in force, since the new one has faults, else 0',
    labelNames: ['part'],
    registers,
    collect() {
      const faulty = new Set(faultyParts().map(({ part }) => part));
      for (const part of reloadedParts) this.set({ part }, faulty.has(part) ? 1 : 0);
    },
  });
  new Gauge({
    name: 'assay_policy_refused_nodes',
    help: 'Trusted nodes that a policy would make untrusted, which is refused for that; 0: none is refused. -1: it could not be compared',
    labelNames: ['part'],
    registers,
    collect() {
      const refused = new Map(faultyParts().map(({ part, refused }) => [part, refused]));
      for (const part of ['declared', 'policy'] as const)
        this.set({ part }, refusedNodes(refused.get(part) ?? null));
    },
  });
  let history: Parameters<Metrics['policyHistory']>[0] = { rollback: () => null, comparing: () => null };
  new Gauge({
    name: 'assay_policy_comparing',
    help: '1 while a policy is compared with the one in force before it takes its place, else 0',
    registers,
    collect() {
      this.set(history.comparing() === null ? 0 : 1);
    },
  });
  new Gauge({
    name: 'assay_policy_rollback_timestamp_seconds',
    help: 'Since when an earlier policy is in force in place of the one that is given; 0: it is not',
    registers,
    collect() {
      this.set((history.rollback()?.at ?? 0) / 1000);
    },
  });
  const unreadableRows = counter('store_unreadable_rows_total', 'Rows of the store that cannot be read', [
    'table',
  ]);
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
  for (const table of tables) unreadableRows.inc({ table }, 0);
  for (const result of ['done', 'failed']) kept.inc({ result }, 0);
  for (const part of reloadedParts) reloadFailures.inc({ part }, 0);
  for (const reason of watchRestartReasons) watchRestarts.inc({ reason }, 0);
  for (const cause of clusterFaults) clusterFault.set({ cause }, 0);
  for (const cause of faultCauses) serverFaults.inc({ cause }, 0);
  for (const cause of storageCauses) storageFault.set({ cause }, 0);

  return {
    marking: markingMetrics(registry),
    webhook: webhookMetrics(registry),
    certificatesExpire({ notAfter, authorityNotAfter }) {
      expiries.set({ certificate: 'server' }, notAfter / 1000);
      expiries.set({ certificate: 'authority' }, authorityNotAfter / 1000);
    },
    renewalFailed: () => renewalFailures.inc(),
    declaredSerial: (serial) => declaredSerial.set(serial),
    policyChanged(policy, at) {
      policies.reset();
      policies.set({ policy }, at);
    },
    serverFailed: (cause) => serverFaults.inc({ cause }),
    storage(now) {
      for (const cause of storageCauses) storageFault.set({ cause }, cause === now ? 1 : 0);
    },
    reloadFailed: (part) => reloadFailures.inc({ part }),
    rowUnreadable: (table) => unreadableRows.inc({ table }),
    checkpointed: (size) => checkpointSize.set(size),
    checkpointKept: (isKept) => kept.inc({ result: isKept ? 'done' : 'failed' }),
    auditRollback(of) {
      auditRollback = of;
    },
    faultyParts(of) {
      faultyParts = of;
    },
    policyHistory(of) {
      history = of;
    },
    clusterAsked: (verb, resource, code) =>
      kubeRequests.inc({ verb, resource, code: code === null ? 'none' : String(code) }),
    clusterWatchRestarted: (reason) => watchRestarts.inc({ reason }),
    clusterFaults(faults) {
      for (const cause of clusterFaults) clusterFault.set({ cause }, faults.has(cause) ? 1 : 0);
    },
  };
}

function refusedNodes(refused: UnloadedPart['refused']): number {
  if (refused === null) return 0;
  return refused.untrusted === 0 ? -1 : refused.untrusted;
}

/** Of the store, as its rows are called where one cannot be read. */
const tables = ['audit', 'cluster_decisions', 'evidence', 'history', 'node', 'reference', 'status'] as const;
