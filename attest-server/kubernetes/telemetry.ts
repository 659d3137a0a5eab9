import { clusterFaults, watchRestartReasons } from '../formats/cluster.ts';
import type { Figures } from '../telemetry/figures.ts';
import type { ClusterMetrics } from './api-health.ts';

/** How it goes with the API of the cluster. */
export function kubernetesReport(figures: Figures): ClusterMetrics {
  const requests = figures.counter('kube_api_requests_total', 'Requests to the API of the cluster', [
    'verb',
    'resource',
    'code',
  ]);
  const restarts = figures.counter(
    'kube_watch_restarts_total',
    'Times that the watch of the Nodes began again, by why it ended',
    ['reason'],
    watchRestartReasons.map((reason) => ({ reason })),
  );
  const present = figures.gauge(
    'cluster_fault',
    '1 while the Nodes of the cluster cannot be read, or a right is missing, else 0',
    ['cause'],
  );
  const show: ClusterMetrics['clusterFaults'] = (faults) => {
    for (const cause of clusterFaults) present.set({ cause }, faults.has(cause) ? 1 : 0);
  };
  show(new Set());
  return {
    clusterAsked: (verb, resource, code) =>
      requests.inc({ verb, resource, code: code === null ? 'none' : String(code) }),
    clusterWatchRestarted: (reason) => restarts.inc({ reason }),
    clusterFaults: show,
  };
}
