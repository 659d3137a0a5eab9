import { once } from 'node:events';
import { request as requestTls } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { backOff } from '../../agent/back-off.ts';
import { inFolder, rounded } from '../bench/attestation.ts';
import { asShipped, type MeasuredServer, startMeasured } from '../bench/measured-server.ts';
import { type Machine, populate } from '../bench/population.ts';
import { attest, connectAgents, type Fleet, type Link, open } from '../bench/simulated-agents.ts';
import { type Counts, type Order, startAttack, Tallies } from './attack.ts';
import { visit } from './stranger.ts';

/** Of one attack, beside ten honest agents that are asked twice a second. */
export interface SiegeFigures {
  /** The honest agents' rate: a second, and as a part of that before the attack. */
  readonly honest_per_s: number;
  readonly honest_kept: number;
  /** The largest, beyond that before all attacks. */
  readonly rss_over_idle_mib: number;
  /** CPU of each process: 1 is one core. */
  readonly server_cores: number;
  /** How long its one thread was away, at worst of all half seconds. */
  readonly server_lag_p99_ms: number;
  readonly attacker_cores: number;
  /** How many came how far. */
  readonly attacker: Counts;
  /** Who was turned away at which bound. */
  readonly turned_away: Counts;
  /** The longest that a caller from elsewhere, and one of the attacker's own address, waited for each port; null: it got no answer. */
  readonly slowest_ms: Readonly<Record<string, number | null>>;
}

/** Of one siege. */
export interface SiegeOutcome {
  readonly figures: object;
  readonly missed: readonly string[];
}

const programs = ['idle-connections', 'dear-hellos', 'many-strangers', 'flood', 'unproven-bytes'] as const;
type Program = (typeof programs)[number];
/** The attacks, each of which is a program of this folder, and the fleet whose address a stranger shares. */
export const strangerSieges = [...programs, 'one-address'] as const;
export type StrangerSiege = (typeof strangerSieges)[number];

const agents = 10;
const everyMs = 500;
const leastKept = 0.95;
const mostMib = 300;
const fleetSize = 500;
const fleetWithinMs = 60_000;

/** One after the other, each against a server of its own. @returns the figures, and every bound that was missed */
export async function besiegeAsStranger(name: StrangerSiege, seconds: number): Promise<SiegeOutcome> {
  if (name === 'one-address') {
    const figures = await inFolder(fleetOfOneAddress);
    const { proven } = figures;
    const missed = proven < fleetSize ? [`of ${fleetSize} agents of one address ${proven} were proven`] : [];
    return { figures, missed };
  }
  const figures = await inFolder((stateDir) => siegeOf(stateDir, name, seconds));
  const { honest_kept, rss_over_idle_mib, slowest_ms } = figures;
  const silent = Object.entries(slowest_ms).filter(([, took]) => took === null);
  return {
    figures,
    missed: [
      ...(honest_kept < leastKept ? [`the honest agents kept ${honest_kept}`] : []),
      ...(rss_over_idle_mib > mostMib ? [`${rss_over_idle_mib} MiB over idle`] : []),
      ...silent.map(([port]) => `${port} gave no answer`),
    ],
  };
}

async function siegeOf(stateDir: string, name: Program, seconds: number): Promise<SiegeFigures> {
  const machines = await populate(stateDir, agents, 'p256');
  await using server = await startMeasured({ kind: 'assay', stateDir, challengeEveryMs: everyMs }, asShipped);
  await using honest = await connectAgents(server, machines);
  await sleep(1_000);
  const { rssKib: idle } = await server.settle();
  const before = await rateOf(honest, 8_000);
  await server.sample();
  const attacker = startAttack(name, { ...addressesOf(server), seconds, hello: helloOf(machines) });
  let [peak, cpuMs, lag, started] = [0, 0, 0, performance.now()];
  const watching = setInterval(async () => {
    const sample = await server.sample();
    peak = Math.max(peak, sample.rssKib);
    cpuMs += sample.cpuMs;
    lag = Math.max(lag, sample.lagP99Ms);
  }, 500);
  const probes = probeAll(server, name === 'idle-connections' ? '127.0.9.1' : null, seconds * 1000);
  // The attacker starts meanwhile; what is measured is the time in which he is at work.
  await sleep(1_500);
  const during = await rateOf(honest, (seconds - 2) * 1000);
  const forMs = performance.now() - started;
  clearInterval(watching);
  await sleep(600);
  const server_cores = rounded(cpuMs / forMs);
  const slowest_ms = await probes;
  const { counts, cpuMs: attackerMs } = await attacker;
  return {
    honest_per_s: rounded(during),
    honest_kept: rounded(during / before),
    rss_over_idle_mib: Math.round((peak - idle) / 1024),
    server_cores,
    server_lag_p99_ms: Math.round(lag),
    attacker_cores: rounded(attackerMs / (seconds * 1000)),
    attacker: counts,
    turned_away: await turnedAway(server),
    slowest_ms,
  };
}

function addressesOf({ port, apiPort, metricsPort, ca }: MeasuredServer) {
  return { port, apiPort, metricsPort, ca };
}

/** What anybody who listened once knows of a node. */
function helloOf([victim]: readonly Machine[]): Order['hello'] {
  if (victim === undefined) throw new Error('there is no node');
  return { ...victim.tpm.hello(victim.name) };
}

async function rateOf(fleet: Fleet, forMs: number): Promise<number> {
  const [answers, started] = [fleet.answers(), performance.now()];
  await sleep(forMs);
  return ((fleet.answers() - answers) * 1000) / (performance.now() - started);
}

/** Asks the API and the probes again and again. */
async function probeAll(
  { apiPort, metricsPort, ca }: MeasuredServer,
  also: string | null,
  forMs: number,
): Promise<SiegeFigures['slowest_ms']> {
  const slowest: Record<string, number | null> = {};
  const end = performance.now() + forMs;
  const each = async (name: string, mayBeRefused: boolean, ask: () => Promise<void>) => {
    slowest[name] = 0;
    while (performance.now() < end) {
      const started = performance.now();
      let answered = false;
      do {
        answered = await ask().then(
          () => true,
          () => false,
        );
        if (!answered) await sleep(50);
        // Who shares the attacker's address comes again.
      } while (!answered && mayBeRefused && performance.now() - started < 10_000);
      const worst: number | null | undefined = slowest[name];
      slowest[name] =
        answered && worst != null ? Math.max(worst, Math.round(performance.now() - started)) : null;
      await sleep(500);
    }
  };
  const sources = ['127.0.0.1', ...(also === null ? [] : [also])];
  await Promise.all(
    sources.flatMap((from) => [
      each(`api from ${from}`, from === also, () => get(`https://127.0.0.1:${apiPort}/livez`, from, ca)),
      each(`metrics from ${from}`, from === also, () =>
        get(`http://127.0.0.1:${metricsPort}/livez`, from, ca),
      ),
    ]),
  );
  return slowest;
}

async function get(url: string, localAddress: string, ca: string): Promise<void> {
  const { request } = url.startsWith('https') ? { request: requestTls } : await import('node:http');
  const asked = request(url, { localAddress, ca, agent: false, timeout: 5_000 });
  asked.once('timeout', () => asked.destroy(new Error('no answer')));
  asked.end();
  const [answer] = await once(asked, 'response');
  answer.resume();
  await once(answer, 'end');
}

async function turnedAway({ metricsPort }: MeasuredServer): Promise<Counts> {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const series = /^assay_door_refusals_total\{port="(\w+)",bound="(\w+)"\} (\d+)$/gm;
  return Object.fromEntries(
    [...text.matchAll(series)].map(([, port, bound, n]) => [`${port} ${bound}`, Number(n)]),
  );
}

export interface FleetFigures {
  readonly agents: number;
  /** How many of them were proven again within a minute of the server's start, and when the last one was. */
  readonly proven: number;
  readonly last_s: number;
}

/** Enrolled agents that all come at once from one address, where a stranger holds 256 connections. */
async function fleetOfOneAddress(stateDir: string): Promise<FleetFigures> {
  const from = '127.0.5.1';
  const machines = await populate(stateDir, fleetSize, 'p256');
  await using server = await startMeasured({ kind: 'assay', stateDir, challengeEveryMs: 60_000 }, asShipped);
  const end = performance.now() + fleetWithinMs;
  const stranger = Array.from({ length: 256 }, async () => {
    while (performance.now() < end) {
      const stays = end - performance.now();
      await visit(
        { host: '127.0.0.1', port: server.port, ca: server.ca, from, aim: 'tcp', frames: [], stays },
        new Tallies(),
      );
      await sleep(1_000);
    }
  });
  let [proven, last, started] = [0, 0, performance.now()];
  const links: Link[] = [];
  await Promise.all(
    machines.map(async (machine) => {
      for (let failures = 0; performance.now() < end; failures++) {
        await sleep(backOff(failures, Math.random));
        const link = await proveOnce(server, machine, from).catch(() => null);
        if (link === null) continue;
        links.push(link);
        proven += 1;
        last = performance.now() - started;
        return;
      }
    }),
  );
  for (const { socket } of links) socket.terminate();
  if (proven < fleetSize) await Promise.all(stranger);
  return { agents: fleetSize, proven, last_s: rounded(last / 1000) };
}

async function proveOnce(server: MeasuredServer, machine: Machine, from: string): Promise<Link> {
  const link = await open(server, 0, from);
  await new Promise<void>((resolve, reject) => {
    link.socket.once('close', reject);
    attest(link, machine, (state) => (state === 'trusted' ? resolve() : reject(new Error(state))));
  });
  return link;
}
