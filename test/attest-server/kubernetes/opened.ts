import { pino } from 'pino';
import type { ClusterMetrics } from '../../../attest-server/kubernetes/api-health.ts';
import {
  type Kubernetes,
  type KubernetesConfig,
  type KubernetesTimings,
  openKubernetes,
} from '../../../attest-server/kubernetes/open.ts';
import type { ApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';

const server = serviceAccount('assay', 'assay-server');

/** The room beside an API server of the tests, and what it counted and said. */
export interface Opened extends AsyncDisposable {
  readonly kubernetes: Kubernetes;
  /** `verb resource code`. */
  readonly asked: readonly string[];
  readonly restarts: readonly string[];
  readonly faults: () => readonly string[];
  readonly lines: readonly { readonly code?: string; readonly msg: string }[];
}

/** Short enough for a test; each is a bound that a real server has, too. */
const shortTimings: KubernetesTimings = {
  requestWithin: 500,
  backOffFrom: 10,
  backOffTo: 50,
};

export async function opened(
  api: ApiServer,
  config: Partial<KubernetesConfig> = {},
  timings: KubernetesTimings = {},
  monotonic: () => number = () => performance.now(),
): Promise<Opened> {
  const asked: string[] = [];
  const restarts: string[] = [];
  const lines: { code?: string; msg: string }[] = [];
  let faults: readonly string[] = [];
  const metrics: ClusterMetrics = {
    clusterAsked: (verb, resource, code) => void asked.push(`${verb} ${resource} ${code ?? 'none'}`),
    clusterWatchRestarted: (reason) => void restarts.push(reason),
    clusterFaults(now) {
      faults = [...now];
    },
  };
  const kubernetes = await openKubernetes(
    {
      api: await api.kubeconfig(server),
      host: '',
      port: 0,
      namespace: null,
      agentAccount: 'assay-agent',
      agentTokens: 'always',
      operators: { audience: 'assay' },
      authorityConfigMap: null,
      ...config,
    },
    {
      logger: pino({ level: 'info' }, { write: (line) => void lines.push(JSON.parse(line)) }),
      metrics,
      now: Date.now,
      monotonic,
    },
    { ...shortTimings, ...timings },
  );
  return {
    kubernetes,
    asked,
    restarts,
    faults: () => faults,
    lines,
    [Symbol.asyncDispose]: () => kubernetes[Symbol.asyncDispose](),
  };
}
