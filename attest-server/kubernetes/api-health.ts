import type { Logger } from 'pino';
import type { ClusterFault, WatchRestartReason } from '../formats/cluster.ts';
import type { ClusterError } from '../marking/ports.ts';
import type { NodeWatchParts } from './node-watch.ts';
import type { RequestEvents, Verb } from './requests.ts';
import { ownReviews } from './rights.ts';

/** Metrics of the room. */
export interface ClusterMetrics {
  /** @param code HTTP status; null: no answer */
  clusterAsked(verb: Verb, resource: string, code: number | null): void;
  clusterWatchRestarted(reason: WatchRestartReason): void;
  /** Faults at present. */
  clusterFaults(faults: ReadonlySet<ClusterFault>): void;
}

export interface ApiHealthParts {
  readonly logger: Logger;
  readonly metrics: ClusterMetrics;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  /** Host and port of the API. */
  readonly api: string;
}

/** Reports faults of the cluster's API in metrics and log: once when one begins and ends, not each time. */
export interface ApiHealth {
  readonly asked: RequestEvents['asked'];
  readonly watch: NodeWatchParts['on'];
  fault(): ClusterError | null;
  /** Faults at present, a sentence each: the Nodes cannot be read, a right is missing. */
  faults(): readonly string[];
  text(): string;
}

/** A right that is missing is said again after this. */
const againAfter = 600_000;
const unreadableAgainAfter = 60_000;

export function createApiHealth({ logger, metrics, monotonic, api }: ApiHealthParts): ApiHealth {
  const forbidden = new Map<string, number>();
  let fault: ClusterError | null = null;
  let unreadableAt = Number.NEGATIVE_INFINITY;
  const show = () => {
    const faults = new Set<ClusterFault>();
    if (forbidden.size > 0) faults.add('forbidden');
    if (fault !== null) faults.add(faultOf(fault));
    metrics.clusterFaults(faults);
  };
  show();
  return {
    asked({ verb, resource, namespace }, code) {
      metrics.clusterAsked(verb, resource, code);
      if (ownReviews.has(resource)) return;
      const within = namespace === undefined ? '' : ` in the namespace ${namespace}`;
      const right = `${verb === 'apply' ? 'patch' : verb} ${resource}${within}`;
      if (code === 403) {
        const before = forbidden.get(right);
        const now = monotonic();
        if (before !== undefined && now - before < againAfter) return;
        forbidden.set(right, now);
        logger.error(
          { code: 'cluster_forbidden', verb: right.split(' ')[0], resource, namespace },
          `the server has no right to ${right} in its cluster (403): give its service account the roles of manifests/base/rbac`,
        );
        show();
      } else if (code !== null && code < 300 && forbidden.delete(right)) show();
    },
    watch: {
      restarted: metrics.clusterWatchRestarted,
      fault(now) {
        const isNew = now !== null && now.reason !== fault?.reason;
        if (isNew) logger.error({ code: 'cluster_fault', api, reason: now.reason }, textOf(now, api));
        if (now === null && fault !== null)
          logger.info({ code: 'cluster', api }, 'the Nodes of the cluster are known again');
        if (now === fault) return;
        fault = now;
        show();
      },
      unreadable(error) {
        const now = monotonic();
        if (now - unreadableAt < unreadableAgainAfter) return;
        unreadableAt = now;
        logger.error(
          { err: error },
          'the API of the cluster tells of a Node in a form that is none: it is left as it was',
        );
      },
    },
    fault: () => fault,
    faults: () => [
      ...(fault === null ? [] : [`the Nodes cannot be read: ${fault.message}`]),
      ...[...forbidden.keys()].map((right) => `the server has no right to ${right} (manifests/base/rbac)`),
    ],
    text: () => fault?.message ?? 'the Nodes were not listed yet',
  };
}

function faultOf({ reason }: ClusterError): ClusterFault {
  return reason === 'unreachable' || reason === 'forbidden' ? reason : 'failed';
}

const waiting =
  'Verdicts go on; marks and enrolment by the cluster wait, and the server tries again by itself';

function textOf(fault: ClusterError, api: string): string {
  return `the Nodes of the cluster cannot be read from ${api}: ${fault.message}. ${waiting}`;
}
