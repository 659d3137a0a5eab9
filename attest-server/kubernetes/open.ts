/**
 * The API of the cluster: how it is reached (`access`), the Nodes by list and watch (`node-watch`), no one Node
 * more than its share (`node-reading`), what is written (`writer`), whose tokens are shown (`token-reviews`)
 * and how many are looked at (`token-shares`), what admission has (`admission`), and which rights the server has
 * (`rights`). All of it is bounded in time and number (`requests`); that something is wrong is said once (`api-health`).
 */

import type { Logger } from 'pino';
import type { CheckpointKeeper } from '../audit/cluster-checkpoint.ts';
import type { Cluster } from '../enrolment/cluster.ts';
import { checkpointConfig } from '../formats/marks.ts';
import { type KubeletStatus, kubeletStatuses } from '../formats/silence.ts';
import type { AdmissionReader, ClusterError, ClusterNodes, ClusterWriter } from '../marking/ports.ts';
import type { AuthorityKeeper } from '../tls/published-authorities.ts';
import { Rejection } from '../wire/rejection.ts';
import type { Access } from './access.ts';
import { createAdmissionReader } from './admission.ts';
import { createAgentTokens } from './agent-tokens.ts';
import { type ClusterMetrics, createApiHealth } from './api-health.ts';
import { createConfigMaps } from './config-maps.ts';
import { NodeCache } from './node-cache.ts';
import { NodeWatch, type WatchTimings } from './node-watch.ts';
import { createOperators, type Operators } from './operators.ts';
import { type AccessConfig, readAccess } from './read-access.ts';
import { Requests } from './requests.ts';
import { createRightsReader, type HeldRights, neededRights } from './rights.ts';
import { TokenReviews } from './token-reviews.ts';
import { createWriter } from './writer.ts';

export interface KubernetesConfig extends AccessConfig {
  /** The server's own; null: that of its pod, or of the kubeconfig's context. */
  readonly namespace: string | null;
  /** Service account of agents: its name in the server's namespace, or `namespace/name`. */
  readonly agentAccount: string;
  /** From whom a token is wanted: from every agent, from those of names that are Nodes, from nobody. */
  readonly agentTokens: 'always' | 'nodes' | 'never';
  /** For whom tokens of operators are made, null for the API itself; nobody comes by the cluster where there is none. */
  readonly operators: { readonly audience: string | null } | null;
  /** `NAMESPACE/NAME` of the ConfigMap by which agents get the authorities of the server; null: none. */
  readonly authorityConfigMap: string | null;
}

export interface KubernetesParts {
  readonly logger: Logger;
  readonly metrics: ClusterMetrics;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
}

export interface KubernetesTimings extends Partial<WatchTimings> {
  /** Milliseconds to wait for one's turn, and again for the answer. */
  readonly requestWithin?: number;
}

/** The cluster that the server is in. */
export interface Kubernetes extends AsyncDisposable {
  readonly nodes: ClusterNodes;
  readonly writer: ClusterWriter;
  readonly admission: AdmissionReader;
  /** Of the audit log. */
  readonly checkpoints: CheckpointKeeper;
  /** Of the authorities of the server; null if they are kept nowhere. */
  readonly authorities: AuthorityKeeper | null;
  readonly cluster: Cluster;
  /** Status of the condition Ready of this Node; null if there is no such Node, or the cluster is not known at present. */
  kubeletReady(node: string): KubeletStatus | null;
  /** Null: the cluster makes nobody an operator here. */
  readonly operators: Operators | null;
  /** Asks the API which rights the server has, of those that it needs. @throws ClusterError */
  readRights(): Promise<HeldRights>;
  /** The server's own. */
  readonly namespace: string;
  /** Why the cluster is not known at present; null if it is. */
  fault(): ClusterError | null;
  /** Faults at present, a sentence each. */
  faults(): readonly string[];
}

const usualNamespace = 'assay';

/**
 * Begins to read the cluster. Nobody waits for an API that does not answer.
 * @throws Error if nothing says which API is meant, or with what right
 */
export async function openKubernetes(
  config: KubernetesConfig,
  parts: KubernetesParts,
  timings: KubernetesTimings = {},
): Promise<Kubernetes> {
  return openWith(await readAccess(config), config, parts, timings);
}

function openWith(
  access: Access,
  config: KubernetesConfig,
  { logger, metrics, now, monotonic }: KubernetesParts,
  { requestWithin, ...timings }: KubernetesTimings,
): Kubernetes {
  const namespace = config.namespace ?? access.namespace ?? usualNamespace;
  const apiHealth = createApiHealth({ logger, metrics, monotonic, api: access.url.host });
  const requests = new Requests({
    access,
    monotonic,
    on: { asked: apiHealth.asked },
    ...(requestWithin !== undefined && { within: requestWithin }),
  });
  const cache = new NodeCache();
  const watch = new NodeWatch({ requests, cache, monotonic, timings, on: apiHealth.watch });
  const nodes: ClusterNodes = {
    synced: () => watch.synced,
    get: (name) => cache.get(name),
    all: () => cache.all(),
    onChange: (listener) => cache.onChange(listener),
  };
  const ofAgents = new TokenReviews({ requests, lane: 'agents', monotonic });
  const ofPeople = new TokenReviews({ requests, lane: 'people', monotonic });
  const nodeOfToken = createAgentTokens({
    reviews: ofAgents,
    account: accountOf(config.agentAccount, namespace),
  });
  const labels: Readonly<Record<string, string>> = {};
  const wantsToken = {
    always: () => true,
    never: () => false,
    // While nobody knows which names are Nodes it is wanted from all.
    nodes: (name: string) => !watch.synced || cache.get(name) !== null,
  }[config.agentTokens];
  const writer = createWriter({ requests, namespace, now });
  const authorityPlace =
    config.authorityConfigMap === null ? null : accountOf(config.authorityConfigMap, namespace);
  const authorityKeeper = (named: NonNullable<typeof authorityPlace>): AuthorityKeeper => {
    const configMaps = createConfigMaps({ requests });
    const place = { ...named, isForeign: true } as const;
    return {
      place: `${place.namespace}/${place.name}`,
      read: () => configMaps.read(place),
      write: (data) => configMaps.write(place, data, 'fail'),
    };
  };
  return {
    nodes,
    writer,
    admission: createAdmissionReader({ requests }),
    checkpoints: {
      read: () => writer.readConfig(checkpointConfig),
      write: (data) => writer.writeConfig(checkpointConfig, data),
    },
    authorities: authorityPlace && authorityKeeper(authorityPlace),
    cluster: {
      async providerIdOf(name) {
        if (!watch.synced)
          throw new Rejection(
            'enrolment_pending',
            `the cluster is not known at present: ${apiHealth.text()}`,
          );
        return cache.get(name)?.providerId ?? null;
      },
      nodeOfToken,
      labelsOf: (name) => cache.get(name)?.labels ?? labels,
      systemUuidOf: (name) => cache.get(name)?.systemUuid ?? null,
      wantsToken,
    },
    kubeletReady(node) {
      const conditions = watch.synced ? cache.get(node)?.conditions : undefined;
      const status = conditions?.find(({ type }) => type === 'Ready')?.status;
      return kubeletStatuses.find((known) => known === status) ?? null;
    },
    operators:
      config.operators && createOperators({ ...config.operators, reviews: ofPeople, requests, monotonic }),
    readRights: createRightsReader(
      requests,
      neededRights({
        namespace,
        authorities: authorityPlace,
        takesTokens: config.agentTokens !== 'never' || config.operators !== null,
        takesPeople: config.operators !== null,
      }),
    ),
    namespace,
    fault: apiHealth.fault,
    faults: apiHealth.faults,
    async [Symbol.asyncDispose]() {
      requests[Symbol.dispose]();
      await watch[Symbol.asyncDispose]();
    },
  };
}

/** `NAMESPACE/NAME`, or a name in the server's own namespace. */
function accountOf(setting: string, own: string): { readonly namespace: string; readonly name: string } {
  const [name = '', namespace = own] = setting.split('/').reverse();
  return { namespace, name };
}
