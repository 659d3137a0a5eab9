import { access, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Daemon, startDaemon } from './daemon.ts';
import type { FixtureMachine } from './machine.ts';
import { sources } from './programs.ts';

export interface NodeSettings {
  readonly node: string;
  /** Where its configuration and state are kept. */
  readonly dir: string;
  readonly server: { readonly port: number };
  /** How it knows the server. */
  readonly trust: { readonly caFile: string } | { readonly joinTokenFile: string };
  readonly logLevel?: string;
  /** Argv that comes before the arguments of `assay-agent`; default: it runs from source. */
  readonly program?: readonly [string, ...string[]];
}

/** The programs of Assay that run on a machine: agent, tpm-broker, and netfilter where the machine has a network. */
export interface NodePrograms extends AsyncDisposable {
  /** Process ids by name. */
  readonly processes: ReadonlyMap<'agent' | 'broker' | 'netfilter', number>;
}

const fromSource = [process.execPath, sources['assay-agent']] as const;

/** Starts them, as the units of a host do; the agent comes last, since it asks the others. */
export async function startNodePrograms(
  machine: FixtureMachine,
  settings: NodeSettings,
): Promise<NodePrograms> {
  const { dir, node, server, trust, logLevel = 'info', program = fromSource } = settings;
  const [first, ...rest] = program;
  await using starting = new AsyncDisposableStack();
  // A Unix socket's path has at most 107 bytes.
  const run = await realpath(await mkdtemp(join(tmpdir(), 'assay-run-')));
  starting.defer(() => rm(run, { recursive: true, force: true }));
  const processes = new Map<'agent' | 'broker' | 'netfilter', number>();
  const begin = async (
    name: 'agent' | 'broker' | 'netfilter',
    argv: readonly [string, ...string[]],
    socket: string | null,
  ) => {
    const daemon = await startDaemon(argv[0], argv.slice(1));
    starting.defer(() => daemon.kill('SIGKILL'));
    processes.set(name, daemon.pid);
    if (socket !== null) await listens(daemon, name, socket);
  };
  const tpmBroker = join(run, 'tpm.sock');
  await begin(
    'broker',
    [first, ...rest, 'tpm-broker', '--socket', tpmBroker, '--tcti', machine.tpm.tcti],
    tpmBroker,
  );
  const { network } = machine;
  let netfilter: string | null = null;
  if (network !== null && typeof network !== 'string') {
    const { inside, outside } = network.sockets;
    // A folder for each start: a socket that a killed program left behind looks like one that listens.
    const started = await mkdtemp(join(outside, 'run-'));
    netfilter = join(started, 'netfilter.sock');
    const socket = join(inside, basename(started), 'netfilter.sock');
    await begin('netfilter', network.inside(first, ...rest, 'netfilter', '--socket', socket), netfilter);
  }

  const stateDir = join(dir, 'agent');
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const config = join(dir, 'agent.yaml');
  const values = {
    servers: [`127.0.0.1:${server.port}`],
    node,
    tpmBroker,
    ...(netfilter !== null && { netfilter }),
    stateDir,
    sysroot: machine.sysroot,
    logLevel,
    ...trust,
  };
  await writeFile(config, JSON.stringify(values), { mode: 0o600 });
  await begin('agent', [first, ...rest, 'run', '--config', config], null);
  const started = starting.move();
  return { processes, [Symbol.asyncDispose]: () => started.disposeAsync() };
}

/** Resolves once the socket is there. @throws Error with what the program said where it ended before */
async function listens(daemon: Daemon, name: string, socket: string): Promise<void> {
  let said: string | null = null;
  void daemon.ended.then((text) => {
    said = text;
  });
  const isThere = () =>
    access(socket).then(
      () => true,
      () => false,
    );
  for (let left = 1_000; !(await isThere()); left--) {
    if (said !== null || left === 0) throw new Error(`${name} does not start: ${said ?? 'it is silent'}`);
    await sleep(20);
  }
}
