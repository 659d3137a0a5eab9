import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { start } from 'node-tpm2/run';
import { pino } from 'pino';
import { diskTools } from '../../../agent/inspect/disk.ts';
import { runCap } from '../../../agent/unlock/cap.ts';
import type { UnlockConfig } from '../../../agent/unlock/config.ts';
import { formatVolume } from '../../../agent/unlock/format.ts';
import type { FixtureMachine } from '../../../swtpm-fixtures/machine.ts';
import { programs } from '../../programs.ts';

/** The disk of a machine, and the programs that have to do with its key, over all its boots. */
export interface UnlockingMachine extends AsyncDisposable {
  /** A file of 64 MiB, blank at first. */
  readonly device: string;
  readonly config: UnlockConfig;
  /** Runs `assay-agent format` in this process; gives what it prints. */
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
  /** Runs `assay-agent cap` in this process. */
  cap(): Promise<number>;
}

export interface UnlockProgram extends AsyncDisposable {
  readonly pid: number;
  /** Reads as systemd-cryptsetup does: it half-closes, and reads to the end. */
  read(): Promise<Buffer>;
  connect(): Promise<Socket>;
  /** The exit code, and all that it printed. */
  readonly ended: Promise<{ readonly code: number | null; readonly said: string }>;
}

/** @param servers ports of the loopback */
export async function unlockingMachine(
  machine: FixtureMachine,
  node: string,
  server: { readonly port: number; readonly caFile: string },
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
  const logger = pino({ level: 'silent' });
  let sockets = 0;
  return {
    device,
    config,
    async format(volume, on = device) {
      const lines: string[] = [];
      const print = (line: string) => lines.push(line);
      await formatVolume({ ...config, volume }, on, { logger, signal: new AbortController().signal, print });
      return lines;
    },
    unlock(volume, { timeout = 20, device: on = device, name = 'key', environment = {} } = {}) {
      const path = join(dir, `key-${sockets++}`);
      const settings = {
        ASSAY_UNLOCK_SERVERS: `127.0.0.1:${server.port}`,
        ASSAY_UNLOCK_NODE: node,
        ASSAY_UNLOCK_CA_FILE: server.caFile,
        ASSAY_UNLOCK_TCTI: config.tcti,
        ASSAY_UNLOCK_STATE_DIR: config.stateDir,
        ASSAY_UNLOCK_RUNTIME_DIR: config.runtimeDir,
        ASSAY_UNLOCK_SYSROOT: config.sysroot,
        ASSAY_UNLOCK_VOLUME: volume,
        ASSAY_UNLOCK_TIMEOUT: String(timeout),
        ...environment,
      };
      const variables = Object.entries(settings).flatMap(([name, value]) => ['-E', `${name}=${value}`]);
      // systemd itself hands the socket over; for the unit's StandardInput= and LimitCORE= a shell does it here.
      const script = 'ulimit -c 0; exec "$@" <"$0"';
      const child = start(
        'systemd-socket-activate',
        [
          ...['-l', path, `--fdname=${name}`],
          ...variables,
          'sh',
          '-c',
          script,
          on,
          process.execPath,
          programs['assay-agent'],
          'unlock',
        ],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      );
      let said = '';
      for (const stream of [child.stdout, child.stderr])
        stream?.setEncoding('utf8').on('data', (text: string) => {
          said += text;
        });
      const ended = once(child, 'close').then(([code]) => ({ code, said }));
      const opened: Socket[] = [];
      const dial = async () => {
        while (!existsSync(path)) await sleep(10);
        const socket = connect({ path, allowHalfOpen: true });
        opened.push(socket);
        await once(socket, 'connect');
        socket.on('error', () => {});
        return socket;
      };
      return {
        pid: child.pid ?? assert.fail(),
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
          await ended;
        },
      };
    },
    cap: () =>
      runCap(config, {
        logger,
        signal: new AbortController().signal,
        print: () => {},
        tools: { ...diskTools, close: () => assert.fail('nothing is mapped') },
      }),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}
