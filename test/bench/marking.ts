import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { trustedLabel } from '../../attest-server/formats/marks.ts';
import { renewEvery } from '../../attest-server/marking/lease.ts';
import { openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { administrator, serviceAccount } from '../../swtpm-fixtures/api-server/users.ts';
import { namespaceOfServer } from '../attest-server/kubernetes/namespace-of-server.ts';
import { madeStatus } from '../attest-server/marking/made-marking.ts';
import { MarkedCluster } from '../attest-server/marking/marked-cluster.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import { inFolder } from './attestation.ts';
import { asShipped, startMeasured } from './measured-server.ts';
import { populate } from './population.ts';
import { sized } from './sized.ts';

/** Of 5,000 nodes. */
export interface MarkingFigures {
  readonly nodes: number;
  /** From the committed verdict to the request that taints, while all others prove themselves each minute. */
  readonly verdict_to_taint_ms: { readonly p50: number; readonly p95: number };
  /** Writes a second over two hours in which nothing changes, and all reconnect at once in between; with the lease. */
  readonly steady_writes_per_second: number;
  /** A whole server that starts on nodes of which none is marked yet: until all have label, condition and resource. */
  readonly resync: {
    readonly seconds: number;
    readonly cpu_seconds: number;
    readonly rss_mb: number;
    readonly requests: number;
  };
}

const nodes = sized(5000, 20);
const hour = 3_600_000;
const challenged = 60_000;
const server = serviceAccount('assay', 'assay-server');

export async function benchMarking(): Promise<MarkingFigures> {
  return {
    nodes,
    verdict_to_taint_ms: await benchLatency(),
    steady_writes_per_second: await benchSteady(),
    resync: await benchResync(),
  };
}

const samples = sized(200, 5);

async function benchLatency(): Promise<MarkingFigures['verdict_to_taint_ms']> {
  const marked = new MarkedCluster({
    nodes,
    parts: { monotonic: () => performance.now(), now: () => Date.now() },
  });
  for (const name of marked.statuses.keys()) marked.statuses.set(name, trustedNow(name));
  await marked.settle();
  let begun = 0;
  const took: number[] = [];
  marked.cluster.before = (request) => {
    if (request === 'patch') took.push(performance.now() - begun);
  };
  let next = 0;
  const proofs = setInterval(() => {
    // As many equal verdicts as come in ten milliseconds.
    for (let i = 0; i < Math.ceil((nodes * 10) / challenged); i++) {
      next = (next + 1) % nodes;
      marked.reconciler.queue.add(`node-${next + 1}`);
    }
  }, 10);
  const ticks = setInterval(() => marked.reconciler.resync(), 1000);
  for (let i = 1; i <= samples; i++) {
    await sleep(10);
    begun = performance.now();
    marked.commit(`node-${i}`, { state: 'untrusted', codes: ['counter_rollback'] });
    await marked.reconciler.idle();
  }
  clearInterval(proofs);
  clearInterval(ticks);
  await marked.reconciler.close();
  if (took.length < samples) throw new Error(`${took.length} taints of ${samples}`);
  took.sort((a, b) => a - b);
  const at = (share: number) => Math.round((took[Math.floor(took.length * share)] ?? Number.NaN) * 100) / 100;
  return { p50: at(0.5), p95: at(0.95) };
}

/** By a clock that does not wait. */
async function benchSteady(): Promise<number> {
  const marked = new MarkedCluster({ nodes });
  await marked.settle();
  await marked.settle();
  // The first hour spreads what is refreshed hourly from then on.
  await marked.pass(hour);
  marked.writes();
  await marked.pass(hour);
  for (const name of marked.statuses.keys()) marked.commit(name, { state: 'trusted' });
  await marked.settle();
  await marked.pass(hour);
  const seconds = (2 * hour) / 1000;
  await marked.reconciler.close();
  const writes = marked.writes().length + (2 * hour) / renewEvery;
  return Math.round((writes / seconds) * 100) / 100;
}

async function benchResync(): Promise<MarkingFigures['resync']> {
  return await inFolder(async (stateDir) => {
    const machines = await populate(stateDir, nodes, 'p256');
    await trustAll(
      stateDir,
      machines.map(({ name, tpm }) => [name, tpm.ekDigest]),
    );
    await using api = await openApiServer({ rbac: false });
    await api.as(administrator).request('POST', '/api/v1/namespaces', namespaceOfServer);
    for (const { name } of machines) await api.createNode(name);
    api.log.clear();
    const kubeconfig = await api.kubeconfig(server);
    const started = performance.now();
    await using measured = await startMeasured(
      { kind: 'assay', stateDir, challengeEveryMs: 100_000, kubeconfig },
      asShipped,
    );
    let rss = 0;
    let cpu = 0;
    const isMarked = (name: string) =>
      api.store.get('/nodes', name)?.object.metadata.labels?.[trustedLabel] === 'true';
    for (let left = nodes; left > 0; ) {
      await sleep(500);
      const sample = await measured.sample();
      rss = Math.max(rss, sample.rssKib / 1024);
      cpu += sample.cpuMs / 1000;
      left = machines.filter(({ name }) => !isMarked(name)).length;
      if (performance.now() - started > 300_000) throw new Error(`${left} nodes are not marked`);
    }
    return {
      seconds: Math.round((performance.now() - started) / 100) / 10,
      cpu_seconds: Math.round(cpu * 10) / 10,
      rss_mb: Math.round(rss),
      requests: api.log.requests({ user: server.name }),
    };
  });
}

/** As if each had just proven itself. */
async function trustAll(
  stateDir: string,
  machines: readonly (readonly [name: string, ekDigest: string])[],
): Promise<void> {
  await using store = await openMadeStore(join(stateDir, 'assay.db'));
  const at = Date.now();
  await Promise.all(
    machines.map(([name, ekDigest]) =>
      store.verdicts.recordChange({
        status: { ...trustedNow(name), ekDigest },
        at,
        evidence: [],
        history: [],
        audit: [],
      }),
    ),
  );
}

function trustedNow(name: string) {
  const now = Date.now();
  return madeStatus(name, { state: 'trusted' }, { verifiedAt: now, expiresAt: now + 24 * hour, since: now });
}
