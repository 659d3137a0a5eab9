import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { populate } from '../../bench/population.ts';
import { Random } from '../../fuzz/random.ts';
import { handedOn, type OwnedNode, takenOver } from '../owned-node.ts';
import { Ledger } from './ledger.ts';
import { load, policyText, population, revisionOf } from './load.ts';
import { DoomedServer } from './server.ts';

export interface OneServerOptions {
  /** Where the state folder lies, and what is needed to go on. */
  readonly work: string;
  readonly rounds: number;
  readonly seed: string;
  readonly resumes: boolean;
  readonly signal: AbortSignal;
  note(line: string): void;
}

export interface OneServerReport {
  readonly seed: string;
  /** In this run, and since the first. */
  readonly rounds: number;
  readonly rounds_in_all: number;
  /** Of them, how many were killed before the server listened. */
  readonly killed_at_start: number;
  /** Answers and verdicts that were acknowledged, and looked for after the next start. */
  readonly acknowledged: number;
  readonly slowest_start_ms: number;
  readonly seconds: number;
  readonly faults: readonly { readonly round: number; readonly text: string }[];
}

/** A start takes about a second on an idle machine. */
const atStartWithin = 1_500;
/** After so many answers and verdicts, or when nobody gets any more; and some milliseconds, so that it is in the middle of the next. */
const underLoad = { acknowledged: 60, patience: 10_000, after: 40 };

/** Starts a server, besieges it, and kills it, again and again on one state folder; each start is asked for all that was acknowledged. */
export async function besiegeOneServer(options: OneServerOptions): Promise<OneServerReport> {
  const { work, rounds, seed, resumes, signal, note } = options;
  const files = { stateDir: join(work, 'state'), configFile: join(work, 'config.json') };
  const policyFile = join(work, 'policy.yaml');
  if (!resumes) await prepare(work, files.stateDir, policyFile);
  const machines = nodes.parse(JSON.parse(await readFile(join(work, 'nodes.json'), 'utf8'))).map(takenOver);
  const ledger = Ledger.of(await readFile(join(work, 'ledger.json'), 'utf8'));
  const began = performance.now();
  const faults: { round: number; text: string }[] = [];
  let [done, killedAtStart, slowest] = [0, 0, 0];
  for (; done < rounds && !signal.aborted; done++) {
    const round = ledger.round;
    const random = new Random(`${seed} ${round}`);
    const found: string[] = [];
    const add = (text: string) => {
      found.push(text);
      note(`round ${round}: ${text}`);
    };
    // Also between two starts that nobody sees the end of.
    while (random.once(5)) {
      const early = await DoomedServer.start(files, random.below(atStartWithin));
      if (early === null) killedAtStart += 1;
      else await early.kill();
    }
    const server = await DoomedServer.start(files, null);
    if (server === null) throw new Error('nobody killed it');
    slowest = Math.max(slowest, server.startedIn);
    for (const { level, msg } of server.lines)
      if (worse.has(level)) add(`at the start it said (${level}): ${msg}`);
    for (const text of await ledger.check(server, files.stateDir)) add(text);
    const over = new AbortController();
    const besieging = load({
      ...{ server, ledger, machines, policyFile },
      seed: `${seed} ${round}`,
      signal: over.signal,
    });
    const enough = ledger.acknowledged + random.below(underLoad.acknowledged);
    const after = random.below(underLoad.after);
    for (let waited = 0; ledger.acknowledged < enough && waited < underLoad.patience; waited += 5)
      await Promise.race([sleep(5), besieging]);
    await sleep(after);
    over.abort();
    await server.kill();
    await besieging;
    ledger.ended();
    await writeFile(join(work, 'ledger.json'), ledger.toString());
    faults.push(...found.map((text) => ({ round, text })));
    if ((done + 1) % 10 === 0)
      note(`${done + 1} rounds, ${ledger.acknowledged} acknowledged, ${faults.length} faults`);
  }
  return {
    seed,
    rounds: done,
    rounds_in_all: ledger.round,
    killed_at_start: killedAtStart,
    acknowledged: ledger.acknowledged,
    slowest_start_ms: Math.round(slowest),
    seconds: Math.round((performance.now() - began) / 1000),
    faults,
  };
}

const worse: ReadonlySet<string> = new Set(['warn', 'error', 'fatal']);

const key = z.object({ kind: z.literal('p256'), privateKey: z.string(), publicArea: z.string() });
const nodes: z.ZodType<readonly OwnedNode[]> = z.array(
  z.object({ name: z.string(), ak: key, ek: key, token: z.null() }),
);

async function prepare(work: string, stateDir: string, policyFile: string): Promise<void> {
  await rm(work, { recursive: true, force: true });
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const text = policyText(0);
  await writeFile(policyFile, text);
  const config = {
    ...{ stateDir, host: '127.0.0.1', agentPort: 0, apiPort: 0, metricsPort: 0, policy: policyFile },
    ...{ challengeEverySeconds: 1, kubernetes: { api: 'none' } },
  };
  await writeFile(join(work, 'config.json'), JSON.stringify(config));
  const machines = await populate(stateDir, population.length, 'p256', (index) => population[index] ?? '');
  await writeFile(
    join(work, 'nodes.json'),
    JSON.stringify(machines.map((machine) => handedOn(machine, null))),
  );
  const things = {
    ...Object.fromEntries(population.map((name) => [`enrolment ${name}`, 'there'])),
    ...{ 'reference model': 'active', authority: 'settled', policy: revisionOf(text) },
  };
  const chain = { size: 0, head: '0'.repeat(64) };
  const ledger = { round: 0, things, maybe: {}, told: {}, chain, backups: [] };
  await writeFile(join(work, 'ledger.json'), JSON.stringify(ledger));
}
