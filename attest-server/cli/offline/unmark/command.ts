import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { type Kubernetes, openKubernetes } from '../../../kubernetes/open.ts';
import { refusedUnmarking, unite } from '../../../marking/latch.ts';
import { ClusterError, type ClusterLease } from '../../../marking/ports.ts';
import { oursOn, UnmarkFailed, unmarkAll } from '../../../marking/unmark.ts';
import { printable } from '../../../wire/printable.ts';
import { checkAll, latched, trialText, type UnmarkOptions } from '../../commands/unmark.ts';
import { questions } from '../../confirm.ts';
import type { CliContext } from '../../context.ts';
import { CliError } from '../../exit.ts';
import type { CliIo } from '../../io.ts';
import { print } from '../../output.ts';
import { counted } from '../../sentence.ts';

export interface DirectOptions extends UnmarkOptions {
  readonly kubeconfig?: string;
  readonly namespace?: string;
  readonly taintKey?: readonly string[];
}

/** `unmark --all --direct`: the same at the API of the cluster, where no server runs any more: what prunes after it. */
export async function unmarkDirectly({ io }: CliContext, options: DirectOptions): Promise<void> {
  const { clusterUid = null, reason = null, output: format, dryRun = false, taintKey: keys = [] } = options;
  checkAll(options);
  const ask = questions(io, options);
  await using cluster = await open(io, options);
  const { nodes, writer } = cluster;
  try {
    await untilListed(cluster, io.now);
    checkNobodyMarks(await writer.readLease(), io.now());
    const latch = unite(null, await writer.readLatch());
    const trial = { latched: latch !== null, nodes: oursOn(nodes.all(), keys).map(copied) };
    if (dryRun) return await print(io, format, trial, () => trialText(trial));
    const refused = refusedUnmarking(latch, { clusterUid, reason }, latch === null ? '' : await writer.uid());
    if (refused !== null) throw latched(`latched: ${refused}`);
    io.err(trialText(trial));
    await ask('Remove all these marks?');
    const done = await unmarkAll({ nodes: () => nodes.all(), writer, keys, wait: (ms) => delay(ms) });
    await print(io, format, done, () => `the marks of ${counted(done.nodes.length, 'node')} are removed\n`);
  } catch (error) {
    if (error instanceof ClusterError || error instanceof UnmarkFailed) throw clusterFault(error);
    throw error;
  }
}

async function open(io: CliIo, { kubeconfig, namespace }: DirectOptions): Promise<Kubernetes> {
  const port = Number(io.env.KUBERNETES_SERVICE_PORT ?? 443);
  try {
    return await openKubernetes(
      {
        api: kubeconfig === undefined ? 'pod' : resolve(io.cwd, kubeconfig),
        host: io.env.KUBERNETES_SERVICE_HOST ?? 'kubernetes.default.svc',
        port: Number.isInteger(port) ? port : 443,
        namespace: namespace ?? null,
        agentAccount: 'assay-agent',
        agentTokens: 'never',
        operators: null,
        authorityConfigMap: null,
      },
      {
        logger: pino({ level: 'silent' }),
        metrics: { clusterAsked() {}, clusterWatchRestarted() {}, clusterFaults() {} },
        now: io.now,
        monotonic: () => performance.now(),
      },
    );
  } catch (cause) {
    throw new CliError(
      printable(cause instanceof Error ? cause.message : String(cause)),
      'Name the cluster with --kubeconfig FILE; without it this runs in a pod only.',
      undefined,
      cause,
    );
  }
}

/** How long a first whole list may take. */
const listedWithin = 60_000;

/** @throws CliError if the cluster does not say which Nodes it has */
async function untilListed({ nodes, fault }: Kubernetes, now: () => number): Promise<void> {
  const end = now() + listedWithin;
  while (!nodes.synced()) {
    const why = fault();
    if (why !== null && (why.reason === 'forbidden' || now() > end)) throw why;
    if (now() > end)
      throw new CliError('the cluster did not list its nodes in time', 'Try again when its API answers.');
    await delay(50);
  }
}

/** Else the marks would come back at once. @throws CliError */
function checkNobodyMarks(lease: ClusterLease | null, now: number): void {
  const renewedAt = Date.parse(lease?.renewedAt ?? '');
  if (lease === null || lease.holder === null || !(renewedAt + lease.durationSeconds * 1000 > now)) return;
  throw new CliError(
    `a server still marks the nodes: ${printable(lease.holder)}`,
    'Stop it first; or have it do this itself:\n  assay unmark --all',
  );
}

function clusterFault(error: Error): CliError {
  return new CliError(
    `the cluster did not do it: ${printable(error.message)}`,
    'It can be done again: what is removed already stays removed.',
    undefined,
    error,
  );
}

function copied({ node, labels, taints, conditions }: ReturnType<typeof oursOn>[number]) {
  return { node, labels: [...labels], taints: [...taints], conditions: [...conditions] };
}
