import { setTimeout as sleep } from 'node:timers/promises';
import { binaryFrame } from '../../attest-server/wire/messages.ts';
import { evidenceLike, inFolder, rounded } from './attestation.ts';
import { asShipped, type MeasuredServer, startMeasured } from './measured-server.ts';
import { model, populate } from './population.ts';
import { connectAgents, connectEchoes, type Fleet } from './simulated-agents.ts';
import { sized } from './sized.ts';
import { connectTarpit } from './tarpit.ts';

/** Ten agents that answer one byte a second: the part of the others' rate that is left. */
export async function benchTarpit(): Promise<{ readonly tarpit_kept: number }> {
  return await inFolder(async (stateDir) => {
    const machines = await populate(stateDir, sized(110, 20), 'p256');
    await using server = await startMeasured({ kind: 'assay', stateDir, challengeEveryMs: 200 });
    await using honest = await connectAgents(server, machines.slice(10));
    await sleep(sized(2_000, 400));
    const [before, during, after]: number[][] = [[], [], []];
    for (let round = 0; round < sized(3, 1); round++) before!.push(await rateOf(honest, 1_000));
    {
      await using _tarpit = await connectTarpit(server, machines.slice(0, 10));
      for (let round = 0; round < sized(6, 1); round++) during!.push(await rateOf(honest, 1_000));
    }
    for (let round = 0; round < sized(3, 1); round++) after!.push(await rateOf(honest, 1_000));
    return { tarpit_kept: rounded(mean(during!) / mean([...before!, ...after!])) };
  });
}

async function rateOf(fleet: Fleet, forMs: number): Promise<number> {
  const [answers, started] = [fleet.answers(), performance.now()];
  await sleep(forMs);
  return ((fleet.answers() - answers) * 1000) / (performance.now() - started);
}

/** How large the run is; what is left out is as `--full` says. */
export interface Sizes {
  readonly connections?: number;
  readonly messages?: number;
  readonly more?: number;
  readonly agents?: number;
  readonly every?: number;
  readonly seconds?: number;
}

export interface ConnectionFigures extends Readonly<Record<string, unknown>> {
  /** Resident memory of the server's process per connection, beyond what a first hundred took. */
  readonly connection_kib: number;
  readonly bare_connection_kib: number;
  readonly connection_ratio: number;
  /** What came to it with the further messages. */
  readonly connection_growth_kib: number;
  readonly bare_connection_growth_kib: number;
  readonly connections: number;
  readonly messages_each: number;
  readonly more_messages_each: number;
}

/**
 * Many TLS connections, each of which has sent some pieces of evidence, beside the same at a bare ws server: as many,
 * of the same size, at the same pace, after one boot log each. Ours is all that grows with an agent: the connection,
 * its keys, and what is kept in memory of its node (state, latest PCR values). The bare one keeps nothing, and sends
 * each message back, which is longer than a verdict and a challenge. Both have the memory settings of the server's unit.
 */
export async function benchConnections(full: boolean, sizes: Sizes = {}): Promise<ConnectionFigures> {
  const {
    connections = full ? 2_000 : sized(1_000, 20),
    messages = full ? 200 : sized(5, 1),
    more = full ? 50 : sized(5, 1),
  } = sizes;
  const counts = { connections, messages, more };
  const paceMs = (sizes.every ?? 1) * 1000;
  const ours = await inFolder(async (stateDir) => {
    const machines = await populate(stateDir, connections, 'p256');
    await using server = await startMeasured(
      { kind: 'assay', stateDir, challengeEveryMs: paceMs },
      asShipped,
    );
    return await memoryEach(server, counts, (from, to) => connectAgents(server, machines.slice(from, to)));
  });
  const bare = await inFolder(async (stateDir) => {
    const message = evidenceLike(await populate(stateDir, 1, 'p256'));
    const log = binaryFrame('part', model.log);
    await using server = await startMeasured({ kind: 'bare', stateDir, challengeEveryMs: 0 }, asShipped);
    return await memoryEach(server, counts, (from, to) =>
      connectEchoes(server, to - from, message, paceMs, log),
    );
  });
  return {
    connection_kib: Math.round(ours.each),
    bare_connection_kib: Math.round(bare.each),
    connection_ratio: rounded(ours.each / bare.each),
    connection_growth_kib: rounded(ours.growth),
    bare_connection_growth_kib: rounded(bare.growth),
    connections,
    messages_each: messages,
    more_messages_each: more,
  };
}

/** In KiB. The first hundred warm the process up: code and heap that every server needs are not a connection's. */
async function memoryEach(
  server: MeasuredServer,
  { connections, messages, more }: { connections: number; messages: number; more: number },
  connect: (from: number, to: number) => Promise<Fleet>,
): Promise<{ readonly each: number; readonly growth: number }> {
  const first = Math.min(100, connections / 2);
  await using some = await connect(0, first);
  await reach(some, first * sized(20, 1));
  const { rssKib: before } = await server.settle();
  await using others = await connect(first, connections);
  const count = connections - first;
  await reach(others, count * messages);
  const { rssKib: after } = await server.settle();
  await reach(others, count * (messages + more));
  const { rssKib: later } = await server.settle();
  return { each: (after - before) / count, growth: (later - after) / count };
}

async function reach(fleet: Fleet, answers: number): Promise<void> {
  while (fleet.answers() < answers) await sleep(50);
}

export interface AgentsFigures {
  readonly n: number;
  readonly every_s: number;
  /** Verdicts per second; seconds measured. */
  readonly per_s: number;
  readonly for_s: number;
  readonly rss_mib: number;
  readonly lag_p99_ms: number;
  readonly overdue: number;
  /** CPU of the server's process: 1 is one core. */
  readonly cores: number;
}

/** Many agents at the pace of a real fleet. The short run has fewer, at the same number of answers per second. */
export async function benchAgents(full: boolean, sizes: Sizes = {}): Promise<AgentsFigures> {
  const {
    agents: n = full ? 5_000 : sized(1_000, 20),
    every = full ? 60 : sized(10, 1),
    seconds = full ? 120 : sized(20, 2),
  } = sizes;
  const [everyMs, forMs] = [every * 1000, seconds * 1000];
  return await inFolder(async (stateDir) => {
    const machines = await populate(stateDir, n, 'p256');
    await using server = await startMeasured(
      { kind: 'assay', stateDir, challengeEveryMs: everyMs },
      asShipped,
    );
    await using _fleet = await connectAgents(server, machines);
    await server.settle();
    await sleep(forMs);
    const sample = await server.sample();
    return {
      n,
      every_s: everyMs / 1000,
      per_s: rounded(sample.answered / (forMs / 1000)),
      for_s: forMs / 1000,
      rss_mib: Math.round(sample.rssKib / 1024),
      lag_p99_ms: rounded(sample.lagP99Ms),
      overdue: sample.overdue,
      cores: rounded(sample.cpuMs / forMs),
    };
  });
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
