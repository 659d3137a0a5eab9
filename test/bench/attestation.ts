import { verify as bareVerify } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseSignature } from '../../attest-server/verify/tpm/signature.ts';
import type { Challenge } from '../../attest-server/wire/messages.ts';
import { akOf, madeQuote } from '../attest-server/verify/made-quote.ts';
import { interleaved } from './cpu-time.ts';
import { type MeasuredServer, startMeasured } from './measured-server.ts';
import { type Machine, populate } from './population.ts';
import { connectAgents, connectEchoes } from './simulated-agents.ts';
import { sized } from './sized.ts';

const agents = sized(200, 4);
const paceMs = 200;
/** Until what an answer runs through is compiled: 10,000 of them at the pace. */
const warmUpMs = sized(10_000, 400);
const measuredMs = sized(5_000, 600);

/** Of one kind of attestation key. Times are CPU time of the server's process for one attestation, in milliseconds. */
export interface AttestationFigures {
  /** Attestations per second that were made while `cpu_ms` was taken; each node is asked five times a second. */
  readonly rate: number;
  readonly cpu_ms: number;
  /** Where each verdict is followed by the next challenge at once, and how many per second that are. */
  readonly saturated_cpu_ms: number;
  readonly saturated_rate: number;
  /** What nobody can save, at the same rate in the same run: TLS and ws echoing such a message, and the signature. */
  readonly bare_echo_ms: number;
  readonly bare_verify_ms: number;
  /** bare / whole */
  readonly ratio: number;
  readonly saturated_ratio: number;
  /** Of a server that parses the answer, checks the signature, gives a verdict and asks again, and does nothing else. */
  readonly least_ms: number;
  readonly saturated_least_ms: number;
  /** bare / least: what `ratio` would be of that one. */
  readonly least_ratio: number;
  readonly saturated_least_ratio: number;
  /** `cpu_ms` where PCR 10 moves in every answer / `cpu_ms` where no PCR does. */
  readonly moving_pcr10: number;
}

/** From the TLS frame to the committed verdict, of 200 agents over TLS; the load is in this process. */
export async function benchAttestation(): Promise<{
  readonly p256: AttestationFigures;
  readonly rsa2048: AttestationFigures;
}> {
  const echoes = {
    paced: await echo(paceMs),
    saturated: await echo(0),
  };
  return { p256: await bench('p256', echoes), rsa2048: await bench('rsa2048', echoes) };
}

/** Milliseconds of CPU for each echo. */
interface Echoes {
  readonly paced: number;
  readonly saturated: number;
}

async function bench(kind: 'p256' | 'rsa2048', echoes: Echoes): Promise<AttestationFigures> {
  const { verify, ...whole } = await attested(kind, paceMs);
  const moving = await attested(kind, paceMs, { moving: true });
  const saturated = await attested(kind, 1);
  const least = await attested(kind, paceMs, { by: 'least' });
  const saturatedLeast = await attested(kind, 1, { by: 'least' });
  return {
    rate: Math.round(whole.rate),
    cpu_ms: rounded(whole.ms),
    saturated_cpu_ms: rounded(saturated.ms),
    saturated_rate: Math.round(saturated.rate),
    bare_echo_ms: rounded(echoes.paced),
    bare_verify_ms: rounded(verify),
    ratio: rounded((echoes.paced + verify) / whole.ms),
    saturated_ratio: rounded((echoes.saturated + verify) / saturated.ms),
    least_ms: rounded(least.ms),
    saturated_least_ms: rounded(saturatedLeast.ms),
    least_ratio: rounded((echoes.paced + verify) / least.ms),
    saturated_least_ratio: rounded((echoes.saturated + verify) / saturatedLeast.ms),
    moving_pcr10: rounded(moving.ms / whole.ms),
  };
}

async function attested(
  kind: 'p256' | 'rsa2048',
  everyMs: number,
  { by = 'assay', moving = false }: { readonly by?: 'assay' | 'least'; readonly moving?: boolean } = {},
): Promise<Cost & { verify: number }> {
  return await inFolder(async (stateDir) => {
    const machines = await populate(stateDir, agents, kind);
    await using server = await startMeasured({ kind: by, stateDir, challengeEveryMs: everyMs });
    await using _fleet = await connectAgents(server, machines, moving);
    return { ...(await costs(server)), verify: verifyMs(machines) };
  });
}

async function echo(everyMs: number): Promise<number> {
  return await inFolder(async (stateDir) => {
    const message = evidenceLike(await populate(stateDir, 1, 'p256'));
    await using server = await startMeasured({ kind: 'bare', stateDir, challengeEveryMs: 0 });
    await using _fleet = await connectEchoes(server, agents, message, everyMs);
    return (await costs(server)).ms;
  });
}

interface Cost {
  /** CPU of the server's process for one answer. */
  readonly ms: number;
  /** Answers per second. */
  readonly rate: number;
}

async function costs(server: MeasuredServer): Promise<Cost> {
  await sleep(warmUpMs);
  await server.sample();
  const started = performance.now();
  await sleep(measuredMs);
  const { cpuMs, answered } = await server.sample();
  return { ms: cpuMs / answered, rate: answered / ((performance.now() - started) / 1000) };
}

export function evidenceLike([machine]: readonly Machine[]): string {
  if (machine === undefined) throw new Error('no machine');
  const { tpm, name } = machine;
  const nonce = Buffer.alloc(32).toString('base64');
  const challenge: Challenge = {
    type: 'challenge',
    purpose: 'attest',
    nonce,
    selection: {},
    holds: [],
    parts: [],
    within: 1,
  };
  const occasion = { node: name, hello: '', channel: Buffer.alloc(32), bootLog: Buffer.alloc(1) };
  return JSON.stringify(tpm.evidence(challenge, occasion));
}

/** Median of rounds over all keys. */
function verifyMs(machines: readonly Machine[]): number {
  const quotes = machines.map(({ tpm }) => {
    const { attest, signature } = madeQuote(tpm.ak, Buffer.alloc(32));
    const ak = akOf(tpm.ak);
    return { key: ak.key, attest, signature: parseSignature(signature, ak) };
  });
  const check = () => {
    for (const { key, attest, signature } of quotes)
      if (!bareVerify('sha256', attest, key, signature)) throw new Error('a good signature was refused');
  };
  const [ms = Number.NaN] = interleaved([check], { warmUp: 0, rounds: sized(50, 1) });
  return ms / quotes.length;
}

export async function inFolder<T>(work: (stateDir: string) => Promise<T>): Promise<T> {
  const stateDir = await mkdtemp(join(tmpdir(), 'assay-bench-'));
  try {
    return await work(stateDir);
  } finally {
    await rm(stateDir, { recursive: true, force: true });
  }
}

export const rounded = (value: number): number => Number(value.toFixed(3));
