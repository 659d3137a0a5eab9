import { hash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openTpm } from 'node-tpm2';
import { pino } from 'pino';
import type { Collector, SupplementCollector } from '../../agent/collectors/collector.ts';
import { collectors } from '../../agent/collectors/list.ts';
import { type AgentState, runAgent } from '../../agent/run.ts';
import type { FixtureMachine } from '../../swtpm-fixtures/machine.ts';
import type { TestServer } from './running-server.ts';

/** The real agent, in this process, on a machine. */
export interface RealAgent extends AsyncDisposable {
  /** What it did, in order. */
  readonly states: readonly AgentState[];
}

/** Starts it against this server, or another that the authority's file vouches for. @param collectors default: all of them */
export async function startAgent(
  machine: FixtureMachine,
  node: string,
  server: {
    readonly port: number;
    readonly caFile: string;
    readonly watch?: boolean;
    readonly clusterTokenFile?: string;
  },
  collectors?: readonly Collector[],
): Promise<RealAgent> {
  const stateDir = await mkdtemp(join(tmpdir(), 'assay-agent-'));
  const stop = new AbortController();
  const states: AgentState[] = [];
  const config = {
    node,
    stateDir,
    caFile: server.caFile,
    netfilter: null,
    joinTokenFile: null,
    clusterTokenFile: server.clusterTokenFile ?? null,
    logLevel: 'silent' as const,
    servers: [{ host: '127.0.0.1', port: server.port }],
    tcti: machine.tpm.tcti,
    tpmBroker: null,
    sysroot: machine.sysroot,
    watch: server.watch ?? false,
    healthSocket: null,
  };
  const ended = runAgent(config, {
    logger: pino({ level: 'silent' }),
    signal: stop.signal,
    onState: (state) => states.push(state),
    ...(collectors !== undefined && { collectors }),
  });
  ended.catch(() => undefined);
  return {
    states,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
      // What the agent was writing when it was told to stop may still come.
      await rm(stateDir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

export const agentsOf = ({ server }: TestServer) => ({ port: server.agentPort, caFile: server.caFile });

/** The collectors of an agent that reads initrds in another way. @param by gives that way, by the true one */
export function collectorsReading(
  by: (real: SupplementCollector) => SupplementCollector['read'],
): readonly Collector[] {
  return collectors(null).map((collector) =>
    collector.supplement === 'initrds' ? { ...collector, read: by(collector) } : collector,
  );
}

/** SHA-256 of the machine's endorsement key, hex: what an inventory holds. */
export async function ekDigestOf(machine: FixtureMachine): Promise<string> {
  await using tpm = await openTpm({ tcti: machine.tpm.tcti });
  return hash('sha256', (await tpm.readEndorsementKey()).publicArea, 'hex');
}

/** Imports the machine's key, has its agent answer once, and vouches for the boot. */
export async function vouchFor(world: TestServer, machine: FixtureMachine, node: string): Promise<void> {
  await world.pin(node, await ekDigestOf(machine));
  await using _agent = await startAgent(machine, node, agentsOf(world));
  await world.until(() => world.verdicts.some((entry) => entry.node === node), 10_000);
  await world.call('POST', '/v1/references', { node, name: node });
  await world.until(async () => (await world.status(node))?.state === 'trusted', 10_000);
}
