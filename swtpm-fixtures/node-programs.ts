import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Daemon, startDaemon } from './daemon.ts';
import type { FixtureMachine } from './machine.ts';

export interface NodeSettings {
  readonly node: string;
  /** Where its configuration and state are kept. */
  readonly dir: string;
  readonly server: { readonly port: number };
  /** How it knows the server. */
  readonly trust: { readonly caFile: string } | { readonly joinTokenFile: string };
  readonly logLevel?: string;
  readonly watch?: boolean;
  /** Argv that comes before the arguments of `assay-agent`; default: it runs from source. */
  readonly program?: readonly [string, ...string[]];
}

/** The programs of Assay that run on a machine. */
export interface NodePrograms extends AsyncDisposable {
  readonly agent: Daemon;
  /** By name. */
  readonly processes: ReadonlyMap<string, number>;
}

const fromSource = [process.execPath, join(import.meta.dirname, '../agent/main.ts')] as const;

/** Starts them, as the units of a host do. */
export async function startNodePrograms(
  machine: FixtureMachine,
  settings: NodeSettings,
): Promise<NodePrograms> {
  const { dir, node, server, trust, logLevel = 'info', watch = true, program = fromSource } = settings;
  const stateDir = join(dir, 'agent');
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const config = join(dir, 'agent.yaml');
  const values = {
    servers: [`127.0.0.1:${server.port}`],
    node,
    tcti: machine.tpm.tcti,
    stateDir,
    sysroot: machine.sysroot,
    watch,
    logLevel,
    ...trust,
  };
  await writeFile(config, JSON.stringify(values), { mode: 0o600 });
  const agent = await startDaemon(program[0], [...program.slice(1), 'run', '--config', config]);
  return {
    agent,
    processes: new Map([['agent', agent.pid]]),
    async [Symbol.asyncDispose]() {
      await agent.kill('SIGKILL');
    },
  };
}
