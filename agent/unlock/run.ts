/**
 * The programs of a node that have to do with the keys of its disks. `run` is the one behind the socket from which
 * systemd-cryptsetup reads a key: it asks the servers (`lease-conversation`), compares the header (`header`), and hands
 * the key over. `cap` ends the right of the boot once the disks are open, by the notes that were left (`note`); `format`
 * makes a volume, once, and `rotate` replaces its key while it is open. `memory` sees to it that no key outlives them. See docs/disk-keys.md.
 */

import { once } from 'node:events';
import { fstatSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { openTpm } from 'node-tpm2';
import { volumeKeyBytes } from '../../attest-server/wire/key-derivation.ts';
import { AgentError } from '../agent-error.ts';
import { backOff } from '../back-off.ts';
import { describeFault } from '../describe-fault.ts';
import { handedOver, listenOn } from '../handed-over.ts';
import { readIdentity } from '../identity.ts';
import type { Logger } from '../logger.ts';
import { openStateDir } from '../state-dir.ts';
import type { UnlockConfig } from './config.ts';
import { UnlockConsole } from './console.ts';
import { headerOn } from './header.ts';
import {
  finalRefusals,
  LeaseConversation,
  type LeaseParts,
  type RefusedKey,
  type ReleasedKey,
} from './lease-conversation.ts';
import { checkMemory } from './memory.ts';
import { rotationMark, writeNote } from './note.ts';

export interface UnlockDependencies {
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Prints on the console. */
  readonly print: (line: string) => void;
  /** In which systemd says what it handed over. */
  readonly environment: NodeJS.ProcessEnv;
}

/** The volume, which systemd opens as standard input: this program may read no other disk. */
const device = 0;

/**
 * Hands the key of one volume to whoever connects to the socket: systemd-cryptsetup. Where there is none in time, the
 * connection ends without a byte, and systemd asks for the recovery passphrase.
 * @returns the exit code: 0 once the key is handed over
 * @throws AgentError, ToolError, each with its next step
 */
export async function runUnlock(config: UnlockConfig, dependencies: UnlockDependencies): Promise<number> {
  const { signal, environment, print } = dependencies;
  const { volume, node, timeout } = config;
  const key = keySocketIn(environment);
  if (key === undefined)
    throw refused('systemd handed over no socket named key: assay-unlock@.socket starts this program');
  const server = await listenOn(key, refused, { allowHalfOpen: true });
  const over = new AbortController();
  const until = AbortSignal.any([signal, over.signal, AbortSignal.timeout(timeout)]);
  const screen = new UnlockConsole(node, volume ?? 'unknown', print);
  let reader: Socket | null = null;
  try {
    reader = await new Promise<Socket>((resolve, reject) => {
      until.addEventListener('abort', () => reject(until.reason), { once: true });
      server.on('connection', (socket) => {
        socket.on('error', () => {});
        // One at a time: whoever comes second gets nothing.
        if (reader !== null) socket.destroy();
        else {
          reader = socket;
          socket.resume();
          socket.once('close', () => over.abort());
          resolve(socket);
        }
      });
    });
    // Not before: a connection that nobody took is reset, and then systemd asks for no passphrase.
    if (volume === null)
      throw refused('no volume is named: set volume (ASSAY_UNLOCK_VOLUME) to its LUKS UUID');
    const input = fstatSync(device);
    if (!input.isBlockDevice() && !input.isFile())
      throw refused('standard input is no device: StandardInput= in the unit names that of the volume');
    await checkMemory(config.sysroot);
    const found = await findKey({ ...config, volume }, { ...dependencies, signal: until }, screen);
    if (found === null) return 1;
    await handOver(reader, found, config.runtimeDir);
    screen.opened();
    return 0;
  } catch (error) {
    if (signal.aborted) throw error;
    if (!until.aborted) {
      screen.gaveUp(describeFault(error).text);
      throw error;
    }
    screen.gaveUp(over.signal.aborted ? 'the other side of the socket went away' : 'its time is over');
    return 1;
  } finally {
    server.close();
    (reader as Socket | null)?.destroy();
  }
}

/** The descriptor of the socket that systemd handed over. */
function keySocketIn(environment: NodeJS.ProcessEnv): number | undefined {
  return handedOver(environment, process.pid).find(({ name }) => name === 'key')?.fd;
}

/** How long it waits for the connection that started this program, in milliseconds. */
const startedBy = 5_000;

/**
 * Ends the connection of whoever waits for a key, without a byte, where the settings cannot be read: one that nobody takes is
 * reset, and then systemd asks for no recovery passphrase.
 */
export async function refuseFor(
  fault: Error,
  { environment, print }: Pick<UnlockDependencies, 'environment' | 'print'>,
): Promise<void> {
  print(
    `assay-unlock: no key, since the settings are faulty. The recovery passphrase opens it. ${fault.message}\n`,
  );
  const key = keySocketIn(environment);
  if (key === undefined) return;
  const server = await listenOn(key, refused, { allowHalfOpen: true });
  const late = setTimeout(() => server.close(), startedBy);
  server.once('connection', (socket: Socket) => {
    clearTimeout(late);
    socket.on('error', () => {});
    socket.end(() => socket.destroy());
    server.close();
  });
  await once(server, 'close');
}

/** Asks the servers in turn; null for a refusal that no waiting heals. @throws the reason of the signal */
async function findKey(
  config: UnlockConfig & { readonly volume: string },
  { logger, signal }: UnlockDependencies,
  screen: UnlockConsole,
): Promise<ReleasedKey | null> {
  for (let turn = 0, failures = 0; ; turn++) {
    signal.throwIfAborted();
    const server = config.servers[turn % config.servers.length];
    if (server === undefined) throw refused('no server is named');
    try {
      const state = await openStateDir(config.stateDir);
      await using tpm = await openTpm({ tcti: config.tcti, signal });
      const identity = await readIdentity(tpm);
      const { volume } = config;
      const parts = { config, volume, tpm, identity, state, logger, signal };
      await using conversation = await LeaseConversation.open(server, parts);
      const answer = await conversation.answer;
      if (answer.is === 'key') return answer;
      logger.warn({ code: answer.code, server: `${server.host}:${server.port}` }, 'no key is given');
      if (finalRefusals.has(answer.code)) {
        screen.refusedForGood(answer.code);
        return null;
      }
      screen.refused(answer.code);
    } catch (error) {
      if (signal.aborted) throw error;
      const fault = describeFault(error);
      logger.warn({ ...fault, server: `${server.host}:${server.port}` }, 'no key yet');
      screen.fails(fault);
    }
    failures += 1;
    await sleep(backOff(failures, Math.random), undefined, { signal });
  }
}

/** @throws AgentError `luks_header` before anything is written, if the disk is another one than the server knows */
async function handOver(
  reader: Socket,
  { release: { leaseId, volume, expectedHeaders }, secret }: ReleasedKey,
  runtimeDir: string,
): Promise<void> {
  try {
    if (expectedHeaders.length === 0)
      throw new AgentError(
        'luks_header',
        `volume ${volume} is not formatted yet: assay-agent format --volume ${volume} --device DEVICE`,
      );
    // While its key is replaced, each of two headers has its own, and a cut may have left one of either.
    const found = await headerOn(device, expectedHeaders.length > 1);
    const place = expectedHeaders.indexOf(found?.digest ?? '');
    if (found === null || place < 0)
      throw new AgentError(
        'luks_header',
        found === null
          ? 'the device has no LUKS header that can be read: it gets no key'
          : `the device has another header than the one that is known of volume ${volume}: it gets no key`,
      );
    // First: whoever caps this boot must know of each volume that got its key.
    await writeNote(runtimeDir, { leaseId, volume, expectedHeaders: [...expectedHeaders] });
    if (secret.length > volumeKeyBytes) await writeFile(rotationMark(runtimeDir, volume), '');
    await new Promise<void>((resolve, reject) => {
      reader.once('error', reject);
      reader.once('close', () => reject(refused('the other side of the socket went away')));
      const at = place * volumeKeyBytes;
      reader.end(secret.subarray(at, at + volumeKeyBytes), () => resolve());
    });
  } finally {
    secret.fill(0);
  }
}

function refused(text: string, cause?: unknown): AgentError {
  return new AgentError('key_socket', text, { cause });
}
