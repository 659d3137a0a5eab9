import { setTimeout as sleep } from 'node:timers/promises';
import { inFolder, rounded } from '../bench/attestation.ts';
import { type MeasuredServer, startMeasured } from '../bench/measured-server.ts';
import { populate } from '../bench/population.ts';
import { connectAgents, type Fleet } from '../bench/simulated-agents.ts';
import { keysOf } from './enrolled.ts';
import { startAttack } from './siege.ts';

/** Of honest agents beside enrolled nodes whose owners attack. */
interface EnrolledFigures {
  readonly honest_per_s: number;
  /** As a part of the rate before the attack. */
  readonly honest_kept: number;
  readonly lag_before_ms: number;
  readonly lag_p99_ms: number;
  readonly server_cores: number;
  readonly rss_over_idle_mib: number;
  readonly attacker: Readonly<Record<string, number>>;
}

const honest = 300;
const everyMs = 3_000;
const leastKept = 0.95;
const mostLagMs = 150;
const mostMib = 256;

/** @param attackers of them, each with two connections from an address of his own */
async function besiegeEnrolled(
  attackers: number,
  plan: { readonly evidence: 'log' | 'ordinary'; readonly reconnects: boolean },
  seconds: number,
): Promise<EnrolledFigures> {
  return await inFolder(async (stateDir) => {
    const machines = await populate(stateDir, honest + attackers, 'p256');
    await using server = await startMeasured({ kind: 'assay', stateDir, challengeEveryMs: everyMs });
    await using fleet = await connectAgents(server, machines.slice(0, honest));
    await sleep(6_000);
    const { rssKib: idle } = await server.settle();
    const before = await watch(server, fleet, 10_000);
    const { port, apiPort, metricsPort, ca } = server;
    const [machine] = machines;
    if (machine === undefined) throw new Error('there is no node');
    const order = { port, apiPort, metricsPort, ca, seconds, hello: { ...machine.tpm.hello(machine.name) } };
    const attack = startAttack('dear-judgements', {
      ...order,
      ...plan,
      attackers: machines.slice(honest).map(keysOf),
    });
    await sleep(1_500);
    const during = await watch(server, fleet, (seconds - 2) * 1000);
    const { counts } = await attack;
    return {
      honest_per_s: rounded(during.rate),
      honest_kept: rounded(during.rate / before.rate),
      lag_before_ms: Math.round(before.lag),
      lag_p99_ms: Math.round(during.lag),
      server_cores: rounded(during.cores),
      rss_over_idle_mib: Math.round((during.peak - idle) / 1024),
      attacker: counts,
    };
  });
}

async function watch(server: MeasuredServer, fleet: Fleet, forMs: number) {
  const [answers, started] = [fleet.answers(), performance.now()];
  await server.sample();
  let [peak, cpuMs, lag] = [0, 0, 0];
  while (performance.now() < started + forMs) {
    await sleep(500);
    const sample = await server.sample();
    peak = Math.max(peak, sample.rssKib);
    cpuMs += sample.cpuMs;
    lag = Math.max(lag, sample.lagP99Ms);
  }
  const took = performance.now() - started;
  return { rate: ((fleet.answers() - answers) * 1000) / took, peak, lag, cores: cpuMs / took };
}

/** One, eight and sixteen owners of enrolled nodes, with dear evidence and with that of honest nodes. */
export async function besiegedByNodes(seconds = 20): Promise<{
  readonly figures: Readonly<Record<string, EnrolledFigures>>;
  readonly missed: readonly string[];
}> {
  const figures: Record<string, EnrolledFigures> = {};
  const missed: string[] = [];
  for (const evidence of ['log', 'ordinary'] as const)
    for (const attackers of [1, 8, 16]) {
      const name = `${evidence} ${attackers}`;
      process.stderr.write(`owned nodes: ${name} ...\n`);
      const found = await besiegeEnrolled(attackers, { evidence, reconnects: true }, seconds);
      figures[name] = found;
      process.stderr.write(`${JSON.stringify(found)}\n`);
      if (found.honest_kept < leastKept) missed.push(`${name}: the honest agents kept ${found.honest_kept}`);
      if (found.lag_p99_ms - found.lag_before_ms > mostLagMs)
        missed.push(`${name}: ${found.lag_p99_ms - found.lag_before_ms} ms of lag more than before`);
      if (found.rss_over_idle_mib > mostMib) missed.push(`${name}: ${found.rss_over_idle_mib} MiB over idle`);
    }
  return { figures, missed };
}
