import { once } from 'node:events';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run, start } from 'node-tpm2/run';
import type { UnlockConfig } from '../agent/unlock/config.ts';
import { type EndedProgram, endOfProgram } from './ended-program.ts';
import type { FixtureMachine } from './machine.ts';
import { sources } from './programs.ts';

/** The disk of a machine, and the programs that have to do with its key, over all its boots. */
export interface UnlockingMachine extends AsyncDisposable {
  /** A file of 64 MiB, blank at first. */
  readonly device: string;
  readonly config: UnlockConfig;
  /** Runs `assay-agent format`; gives what it prints. @throws Error with what it said if it fails */
  format(volume: string, device?: string): Promise<readonly string[]>;
  /** Starts `assay-agent unlock` as systemd does, in a process of its own. */
  unlock(
    volume: string,
    change?: {
      readonly timeout?: number;
      readonly device?: string;
      readonly name?: string;
      readonly environment?: Readonly<Record<string, string>>;
    },
  ): UnlockProgram;
  /** Runs `assay-agent rotate`. */
  rotate(volume: string): Promise<EndedProgram>;
  /** Runs `assay-agent cap`; gives its exit code. */
  cap(): Promise<number | null>;
  /** Whether a secret opens the volume, which nothing maps: `cryptsetup open --test-passphrase`, by a pipe. */
  opens(secret: Buffer): Promise<boolean>;
}

export interface UnlockProgram extends AsyncDisposable {
  readonly pid: number;
  /** Reads as systemd-cryptsetup does: it half-closes, and reads to the end. */
  read(): Promise<Buffer>;
  connect(): Promise<Socket>;
  /** The exit code, and all that it printed. */
  readonly ended: Promise<EndedProgram>;
}

/** For the unit's LimitCORE=, and StandardInput= with the device that comes first, a shell does it. */
const asUnit = ['sh', '-c', 'ulimit -c 0; exec "$@" <"$0"'] as const;

/** @param server port of the loopback @param program `assay-agent`, as Node is given it */
export async function unlockingMachine(
  machine: FixtureMachine,
  node: string,
  server: { readonly port: number; readonly caFile: string },
  program = sources['assay-agent'],
): Promise<UnlockingMachine> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-unlock-'));
  const device = join(dir, 'disk');
  await writeFile(device, '');
  await truncate(device, 64 * 1024 * 1024);
  const config: UnlockConfig = {
    node,
    servers: [{ host: '127.0.0.1', port: server.port }],
    caFile: server.caFile,
    tcti: machine.tpm.tcti,
    volume: null,
    stateDir: join(dir, 'state'),
    runtimeDir: join(dir, 'run'),
    capDir: join(dir, 'cap'),
    timeout: 20_000,
    sysroot: machine.sysroot,
    logLevel: 'silent',
  };
  const settings = {
    ASSAY_UNLOCK_SERVERS: `127.0.0.1:${server.port}`,
    ASSAY_UNLOCK_NODE: node,
    ASSAY_UNLOCK_CA_FILE: config.caFile,
    ASSAY_UNLOCK_TCTI: config.tcti,
    ASSAY_UNLOCK_STATE_DIR: config.stateDir,
    ASSAY_UNLOCK_RUNTIME_DIR: config.runtimeDir,
    ASSAY_UNLOCK_CAP_DIR: config.capDir,
    ASSAY_UNLOCK_SYSROOT: config.sysroot,
    ASSAY_UNLOCK_LOG_LEVEL: config.logLevel,
  };
  const agent = async (...args: readonly string[]): Promise<EndedProgram> => {
    const [shell, ...rest] = [...asUnit, '/dev/null', process.execPath, program, ...args];
    // The first of its servers is away.
    const env = { ...settings, ASSAY_UNLOCK_SERVERS: `127.0.0.1:1,${settings.ASSAY_UNLOCK_SERVERS}` };
    const child = start(shell, rest, { stdio: ['ignore', 'pipe', 'pipe'], env });
    return endOfProgram(child, shell);
  };
  let sockets = 0;
  return {
    device,
    config,
    async format(volume, on = device) {
      const { code, said } = await agent('format', '--volume', volume, '--device', on);
      if (code !== 0) throw new Error(said);
      return said.split('\n');
    },
    unlock(volume, { timeout = 20, device: on = device, name = 'key', environment = {} } = {}) {
      const path = join(dir, `key-${sockets++}`);
      const variables = Object.entries({
        ...settings,
        ASSAY_UNLOCK_VOLUME: volume,
        ASSAY_UNLOCK_TIMEOUT: String(timeout),
        ...environment,
      }).flatMap(([variable, value]) => ['-E', `${variable}=${value}`]);
      const activate = 'systemd-socket-activate';
      const argv = [...asUnit, on, process.execPath, program, 'unlock'];
      const child = start(activate, ['-l', path, `--fdname=${name}`, ...variables, ...argv], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const ended = endOfProgram(child, activate);
      let isOver = false;
      const over = () => {
        isOver = true;
      };
      ended.then(over, over);
      const opened: Socket[] = [];
      const dial = async (): Promise<Socket> => {
        for (; ; await sleep(10)) {
          if (isOver) throw new Error(`${activate} ended: ${(await ended).said}`);
          const socket = connect({ path, allowHalfOpen: true });
          opened.push(socket);
          // It is not there yet, or nobody listens at it yet.
          const dialled = await once(socket, 'connect').catch(() => null);
          if (dialled === null) continue;
          socket.on('error', () => {});
          return socket;
        }
      };
      return {
        pid: child.pid ?? 0,
        connect: dial,
        async read() {
          const socket = await dial();
          socket.end();
          const chunks: Buffer[] = [];
          socket.on('data', (chunk: Buffer) => chunks.push(chunk));
          // `once` would fail where the other side resets it.
          await new Promise((resolve) => socket.once('close', resolve));
          return Buffer.concat(chunks);
        },
        ended,
        async [Symbol.asyncDispose]() {
          child.kill('SIGKILL');
          for (const socket of opened) socket.destroy();
          await ended.catch(() => {});
        },
      };
    },
    rotate: (volume) => agent('rotate', '--volume', volume, '--device', device),
    cap: async () => (await agent('cap')).code,
    opens: (secret) => opensDisk(device, secret),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

/** Whether a secret opens one of its keyslots. */
export function opensDisk(device: string, secret: Buffer): Promise<boolean> {
  return run('cryptsetup', ['open', '--test-passphrase', '--key-file', '-', device], {
    input: secret,
    timeoutMs: 20_000,
    maxOutputBytes: 65_536,
  }).then(
    () => true,
    () => false,
  );
}
