import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { EventListener, type ListenerAt } from '../attest-server/http/listener.ts';
import { inFolder, rounded } from './attestation.ts';
import { type MeasuredServer, startMeasured } from './measured-server.ts';
import { type Machine, populate } from './population.ts';
import { judgeAll } from './scrape.ts';
import { attest, open } from './simulated-agents.ts';
import { sized } from './sized.ts';

/** Of a server with 5,000 nodes that others watch; the load is in this process. */
export interface EventsFigures {
  readonly nodes: number;
  /** Milliseconds for all pages, of 1,000 nodes, of the list of nodes over one connection, p95: with nobody who listens, and with 100 streams. */
  readonly list_ms: number;
  readonly list_ms_100_streams: number;
  /** Milliseconds from a first verdict, as its event says, until each of these 100 has it, p95. */
  readonly verdict_to_listener_ms: number;
  /** Of the server's process, percent of a core: what 200 listeners add where a node is revoked ten times a second. */
  readonly core_percent_200_listeners: number;
}

const nodes = sized(5000, 20);
/** Nodes without a verdict: their first one is an event. */
const fresh = sized(100, 3);
const lists = sized(100, 3);
const revocations = sized(200, 5);
const apart = 100;
/** Calls of one kind until what they run through is compiled. */
const warmUp = sized(30, 1);

export async function benchEvents(): Promise<EventsFigures> {
  return await inFolder(async (stateDir) => {
    const machines = await populate(stateDir, nodes + fresh, 'p256');
    await judgeAll(stateDir, machines.slice(0, nodes));
    await using server = await startMeasured({ kind: 'assay', stateDir, challengeEveryMs: 100_000 });
    const token = (await readFile(join(stateDir, 'admin.token'), 'utf8')).trim();
    using api = new Api(server, token);
    for (let i = 0; i < warmUp; i++) await api.list();
    const alone = await listTime(api);
    const without = await revoke(server, api, machines.slice(0, revocations));
    using crowd = new Listeners({ port: server.apiPort, ca: server.ca, token });
    await crowd.grow(100);
    const besideStreams = await listTime(api);
    const delays = await judgeFresh(server, machines.slice(nodes), crowd);
    await crowd.grow(200);
    const withThem = await revoke(server, api, machines.slice(revocations, 2 * revocations));
    return {
      nodes,
      list_ms: rounded(alone),
      list_ms_100_streams: rounded(besideStreams),
      verdict_to_listener_ms: p95(delays),
      core_percent_200_listeners: rounded(withThem - without),
    };
  });
}

async function listTime(api: Api): Promise<number> {
  const took: number[] = [];
  for (let i = 0; i < lists; i++) {
    const { count, ms } = await api.list();
    took.push(ms);
    if (count < nodes - 2 * revocations) throw new Error(`the list has ${count} nodes`);
    await sleep(20);
  }
  return p95(took);
}

/** @returns percent of a core */
async function revoke(server: MeasuredServer, api: Api, machines: readonly Machine[]): Promise<number> {
  await sleep(sized(2000, 100));
  await server.sample();
  const begun = performance.now();
  for (const [at, { name }] of machines.entries()) {
    await api.call('POST', `/v1/enrolments/${name}/revoke`, { reason: 'bench' });
    await sleep(Math.max(0, begun + (at + 1) * apart - performance.now()));
  }
  const { cpuMs } = await server.sample();
  return (cpuMs / (performance.now() - begun)) * 100;
}

/** @returns milliseconds of each first verdict and listener */
async function judgeFresh(
  server: MeasuredServer,
  machines: readonly Machine[],
  crowd: Listeners,
): Promise<readonly number[]> {
  const delays: number[] = [];
  crowd.told = (at) => delays.push(Date.now() - at);
  for (const [index, machine] of machines.entries()) {
    const link = await open(server, index);
    await new Promise<void>((resolve) => attest(link, machine, () => resolve()));
    await sleep(apart);
    link.socket.terminate();
  }
  const wanted = machines.length * crowd.size;
  for (const end = performance.now() + 10_000; delays.length < wanted; await sleep(20))
    if (performance.now() > end) throw new Error(`${delays.length} of ${wanted} were told`);
  crowd.told = () => {};
  return delays;
}

const eventOf = z.object({ event: z.string(), at: z.iso.datetime() });

class Listeners implements Disposable {
  readonly #at: ListenerAt;
  readonly #all: EventListener[] = [];
  /** Called with the time of each verdict's event. */
  told: (at: number) => void = () => {};

  constructor(at: ListenerAt) {
    this.#at = at;
  }

  get size(): number {
    return this.#all.length;
  }

  async grow(to: number): Promise<void> {
    while (this.#all.length < to) {
      const listener = new EventListener(this.#at);
      listener.got = (block) => {
        const { event, at } = eventOf.parse(JSON.parse(block.get('data') ?? '{}'));
        if (event === 'node.state') this.told(Date.parse(at));
      };
      this.#all.push(listener);
      while (listener.comments === 0) {
        if (listener.isOver) throw new Error(`a listener was refused: ${listener.status}`);
        await sleep(2);
      }
    }
  }

  [Symbol.dispose](): void {
    for (const listener of this.#all) listener[Symbol.dispose]();
  }
}

const page = z.object({ items: z.array(z.unknown()), next: z.string().nullable() });

class Api implements Disposable {
  readonly #server: MeasuredServer;
  readonly #token: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(server: MeasuredServer, token: string) {
    this.#server = server;
    this.#token = token;
  }

  /** @returns how many nodes there are, and how long the requests took; what it costs to read the answers is not in it */
  async list(): Promise<{ readonly count: number; readonly ms: number }> {
    let [count, ms] = [0, 0];
    for (let after: string | null = ''; after !== null; ) {
      const begun = performance.now();
      const text: string = await this.call('GET', `/v1/nodes?limit=1000${after}`);
      ms += performance.now() - begun;
      const { items, next } = page.parse(JSON.parse(text));
      count += items.length;
      after = next && `&after=${next}`;
    }
    return { count, ms };
  }

  call(method: string, path: string, body?: object): Promise<string> {
    const { apiPort: port, ca } = this.#server;
    const headers = { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' };
    return new Promise((resolve, reject) => {
      const answered = async (answer: IncomingMessage) => {
        const text = Buffer.concat(await answer.toArray()).toString('utf8');
        if ((answer.statusCode ?? 0) < 300) resolve(text);
        else reject(new Error(`${path}: ${answer.statusCode} ${text}`));
      };
      request({ host: '127.0.0.1', port, ca, method, path, headers, agent: this.#agent }, (answer) =>
        answered(answer).catch(reject),
      )
        .on('error', reject)
        .end(body && JSON.stringify(body));
    });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

function p95(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.ceil(values.length * 0.95) - 1] ?? Number.NaN;
}
