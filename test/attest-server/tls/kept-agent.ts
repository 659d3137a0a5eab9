import { join } from 'node:path';
import { pino } from 'pino';
import { type AgentState, runAgent } from '../../../agent/run.ts';
import type { FixtureMachine } from '../../../swtpm-fixtures/machine.ts';
import type { TestServer } from '../running-server.ts';

/** An agent whose state folder and file of the authority outlive it. */
export interface KeptAgent {
  readonly verdicts: () => number;
  /** Its log. */
  readonly lines: readonly string[];
  stop(): Promise<void>;
}

interface Kept {
  readonly node: string;
  readonly world: TestServer;
  readonly machine: FixtureMachine;
  readonly folder: string;
  /** Name of its state folder in that folder. */
  readonly state: string;
  /** In that folder, too. */
  readonly caFile: string;
}

export function startKeptAgent({ node, world, machine, folder, state, caFile }: Kept): KeptAgent {
  const stopped = new AbortController();
  const states: AgentState[] = [];
  const lines: string[] = [];
  const config = {
    node,
    stateDir: join(folder, state),
    caFile: join(folder, caFile),
    netfilter: null,
    joinTokenFile: null,
    clusterTokenFile: null,
    servers: [{ host: '127.0.0.1', port: world.server.agentPort }],
    logLevel: 'info' as const,
    tcti: machine.tpm.tcti,
    tpmBroker: null,
    sysroot: machine.sysroot,
    watch: false,
    healthSocket: null,
  };
  const ended = runAgent(config, {
    logger: pino({ base: null }, { write: (line: string) => void lines.push(line) }),
    signal: stopped.signal,
    onState: (next) => states.push(next),
  });
  ended.catch(() => undefined);
  return {
    verdicts: () => states.filter(({ phase }) => phase === 'verdict').length,
    lines,
    async stop() {
      stopped.abort();
      await ended;
    },
  };
}
