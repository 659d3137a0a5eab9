import { type Cluster, type ClusterNode, openCluster } from '../../swtpm-fixtures/cluster/cluster.ts';
import { patience } from '../../swtpm-fixtures/cluster/expectations.ts';
import { comparedKinds } from '../../swtpm-fixtures/cluster/story.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { inFolder } from './attestation.ts';
import { median } from './cpu-time.ts';
import { sized } from './sized.ts';

const rounds = sized(10, 1);

export interface BootFigures extends Readonly<Record<string, unknown>> {
  /** Medians, milliseconds. From the start of the agent's process to the committed verdict, enrolment included. */
  readonly boot_to_trusted_ms: number;
  /** The same node after a tampered boot. Extending the log is outside the clock. */
  readonly boot_to_untrusted_ms: number;
  /** From the server's challenge to the committed verdict, on a running agent. */
  readonly challenge_to_verdict_ms: number;
}

/** Ten machines of one model: the first one's boot is the reference of all. */
export async function benchBoots(): Promise<BootFigures> {
  return await inFolder(measure);
}

async function measure(dir: string): Promise<BootFigures> {
  let verdicts = 0;
  await using cluster = await openCluster({
    dir,
    nodes: rounds + 1,
    challengeEvery: 600_000,
    unknownAfter: 1_200_000,
    logLevel: 'silent',
    ports: 'free',
    recordings: ['debian13-shim-grub'],
    narrator: {
      say: () => undefined,
      typed: () => undefined,
      transition: () => undefined,
      waiting: () => ({ [Symbol.dispose]: () => undefined }),
      heard: () => undefined,
      summary: () => undefined,
    },
    signal: new AbortController().signal,
    recorded: () => {
      verdicts += 1;
    },
  });
  const [model, ...nodes] = cluster.nodes;
  if (model === undefined) throw new Error('no machine to capture a reference from');
  await cluster.operator.importKeys(cluster.nodes.map(({ name, ekDigest }) => ({ node: name, ekDigest })));
  await model.startAgent();
  await reach(cluster, model, 'pending');
  for (const kind of comparedKinds(cluster, model))
    await cluster.operator.assay('reference', 'capture', model.name, '--name', kind, '--kind', kind);
  await reach(cluster, model, 'trusted');

  const trusted = [];
  const challenged = [];
  const untrusted = [];
  for (const node of nodes) {
    trusted.push(await clock(() => node.startAgent().then(() => reach(cluster, node, 'trusted'))));
    challenged.push(
      await clock(async () => {
        const before = verdicts;
        cluster.server.challengeNow(node.name);
        await cluster.next(() => verdicts > before, 10_000);
      }),
    );
    await node.powerOff();
    await node.machine.powerCycle(tamper(node.log, 'kernel'));
    untrusted.push(await clock(() => node.startAgent().then(() => reach(cluster, node, 'untrusted'))));
    await node.powerOff();
  }
  return {
    boot_to_trusted_ms: Math.round(median(trusted)),
    boot_to_untrusted_ms: Math.round(median(untrusted)),
    challenge_to_verdict_ms: Math.round(median(challenged)),
  };
}

async function reach(
  cluster: Cluster,
  node: ClusterNode,
  state: 'pending' | 'trusted' | 'untrusted',
): Promise<void> {
  if (!(await cluster.reaches(node.name, state, null, patience)))
    throw new Error(`${node.name} did not become ${state}: ${JSON.stringify(cluster.state(node.name))}`);
}

async function clock(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}
