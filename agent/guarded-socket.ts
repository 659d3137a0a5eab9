import { lstatSync, mkdirSync, realpathSync, type Stats, unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { dirname, resolve } from 'node:path';
import { acquireLock } from 'node-tpm2/lock';
import { ToolError } from 'node-tpm2/run';

export interface GuardedSocket {
  readonly server: Server;
  /**
   * Aborts, with what is to be said of it, once clients no longer find this socket: its folder was removed, or something
   * else is in its place. The kernel tells its listener nothing of that.
   */
  readonly lost: AbortSignal;
  /** Lets another program take its place, once the server is closed. */
  release(): Promise<void>;
}

/** A fault that says what is wrong with the socket or its folder. */
export type SocketFault = (text: string, cause?: unknown) => Error;

/**
 * Listens on a Unix socket that the group of this process may use, and nobody else: its mode and its folder are the
 * guard, since Node.js does not tell who is at the other end.
 * @throws what `refused` makes, if others could put another socket in its place, or one is answered there already
 */
export async function listenGuarded(
  path: string,
  refused: SocketFault,
  lookEvery = usuallyEvery,
): Promise<GuardedSocket> {
  const socket = resolve(path);
  // sun_path has 108 bytes with its zero (unix(7)); a longer one would be cut.
  if (Buffer.byteLength(socket) > 107)
    throw refused(`${socket} is longer than 107 bytes: choose another path`);
  checkFolder(dirname(socket), refused);
  const taken = `another program answers at ${socket}: stop it first`;
  const release = await acquireLock({ file: `${socket}.lock`, timeoutMs: 250 }).catch((cause: unknown) => {
    if (cause instanceof ToolError && cause.retryable) throw refused(taken, cause);
    throw cause;
  });
  try {
    await removeStale(socket, taken, refused);
    const server = createServer();
    await bind(server, socket, refused);
    const { lost, stop } = watchPlace(socket, lookEvery, refused);
    return {
      server,
      lost,
      async release() {
        stop();
        release();
      },
    };
  } catch (error) {
    release();
    throw error;
  }
}

/** Milliseconds from one look at its place to the next. */
const usuallyEvery = 5_000;

/** Each folder on the way is a real one that only root or this user can change; /tmp protects what is in it. */
function checkFolder(folder: string, refused: SocketFault): void {
  try {
    mkdirSync(folder, { mode: 0o750 });
  } catch (cause) {
    if (!isCode(cause, 'EEXIST')) throw refused(`the folder ${folder} could not be made`, cause);
  }
  const real = realpathSync(folder);
  if (real !== folder) throw refused(`${folder} leads over a link: write ${real}`);
  for (let at = folder; ; at = dirname(at)) {
    const found = lstatSync(at);
    const { mode, uid } = found;
    if (!found.isDirectory()) throw refused(`${at} is not a folder`);
    if (uid !== 0 && uid !== process.getuid?.())
      throw refused(`the folder ${at} belongs to user ${uid}, who could put another socket there`);
    const isProtected = at !== folder && (mode & 0o1000) !== 0;
    if ((mode & 0o022) !== 0 && !isProtected) {
      // Nobody is to take the rights of /tmp away.
      const isShared = (mode & 0o1000) !== 0;
      const next = isShared ? 'choose a folder in it that is of root alone' : `chmod go-w ${at}`;
      throw refused(`others may write the folder ${at}, and put another socket there: ${next}`);
    }
    if (at === '/') return;
  }
}

/** Removes the socket of a program that died. */
async function removeStale(socket: string, taken: string, refused: SocketFault): Promise<void> {
  let found: Stats | undefined;
  try {
    found = lstatSync(socket, { throwIfNoEntry: false });
  } catch (cause) {
    throw refused(`${socket} could not be looked at`, cause);
  }
  if (found === undefined) return;
  if (!found.isSocket()) throw refused(`${socket} is not a socket: remove it, if it is not needed`);
  if (await isAnswered(socket)) throw refused(taken);
  unlinkSync(socket);
}

/** Anything but a refusal is taken for an answer. */
function isAnswered(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error) => resolve(!isCode(error, 'ECONNREFUSED')));
  });
}

async function bind(server: Server, socket: string, refused: SocketFault): Promise<void> {
  // The socket is made within `listen`, so it never has another mode.
  const before = process.umask(0o117);
  const listening = new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', (cause) => reject(refused(`${socket} could not be made`, cause)));
    server.listen(socket);
  });
  process.umask(before);
  await listening;
  server.removeAllListeners('error');
  // No descriptor is left for another client, for example: it is gone, and those that are there go on.
  server.on('error', () => {});
  const { mode } = lstatSync(socket);
  if ((mode & 0o777) === 0o660) return;
  server.close();
  throw refused(`${socket} got the mode ${(mode & 0o777).toString(8)}, not 660`);
}

function watchPlace(
  socket: string,
  every: number,
  refused: SocketFault,
): { readonly lost: AbortSignal; readonly stop: () => void } {
  const lost = new AbortController();
  const { dev, ino } = lstatSync(socket);
  const timer = setInterval(() => {
    let found: Stats | undefined;
    try {
      found = lstatSync(socket, { throwIfNoEntry: false });
    } catch {
      // Not seen is not gone.
      return;
    }
    if (found?.dev === dev && found.ino === ino) return;
    clearInterval(timer);
    const why = found === undefined ? 'was removed' : 'is another one now';
    lost.abort(refused(`the socket ${socket} ${why}: nobody can ask this program: restart it`));
  }, every).unref();
  return { lost: lost.signal, stop: () => clearInterval(timer) };
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
