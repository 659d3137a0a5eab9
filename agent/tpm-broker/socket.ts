import { lstat, mkdir, realpath, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { dirname, resolve } from 'node:path';
import { ToolError } from 'node-tpm2';
import { acquireLock } from 'node-tpm2/lock';
import { AgentError } from '../agent-error.ts';

export interface ListeningSocket {
  readonly server: Server;
  /** Lets another broker take its place, once the server is closed. */
  release(): Promise<void>;
}

/**
 * Listens on a Unix socket that the group of this process may use, and nobody else: its mode and its folder are the
 * guard, since Node.js does not tell who is at the other end.
 * @throws AgentError `tpm_broker` where others could put another socket in its place, or one is answered there already
 */
export async function listen(path: string): Promise<ListeningSocket> {
  const socket = resolve(path);
  // sun_path has 108 bytes with its zero (unix(7)); a longer one would be cut.
  if (Buffer.byteLength(socket) > 107)
    throw refused(`${socket} is longer than 107 bytes: choose another path`);
  await checkFolder(dirname(socket));
  const release = await acquireLock({ file: `${socket}.lock`, timeoutMs: 250 }).catch((cause: unknown) => {
    if (cause instanceof ToolError && cause.retryable) throw refused(taken(socket), cause);
    throw cause;
  });
  try {
    await removeStale(socket);
    const server = createServer();
    await bind(server, socket);
    return { server, release };
  } catch (error) {
    await release();
    throw error;
  }
}

/** Each folder on the way is a real one that only root or this user can change; /tmp protects what is in it. */
async function checkFolder(folder: string): Promise<void> {
  await mkdir(folder, { mode: 0o750 }).catch((cause: unknown) => {
    if (!isCode(cause, 'EEXIST')) throw refused(`the folder ${folder} could not be made`, cause);
  });
  const real = await realpath(folder);
  if (real !== folder) throw refused(`${folder} leads over a link: write ${real}`);
  for (let at = folder; ; at = dirname(at)) {
    const { mode, uid } = await lstat(at);
    if ((mode & 0o170000) !== 0o040000) throw refused(`${at} is not a folder`);
    if (uid !== 0 && uid !== process.getuid?.())
      throw refused(`the folder ${at} belongs to user ${uid}, who could put another socket there`);
    const isProtected = at !== folder && (mode & 0o1000) !== 0;
    if ((mode & 0o022) !== 0 && !isProtected)
      throw refused(`others may write the folder ${at}, and put another socket there: chmod go-w ${at}`);
    if (at === '/') return;
  }
}

/** Removes the socket of a broker that died. */
async function removeStale(socket: string): Promise<void> {
  const found = await lstat(socket).catch((cause: unknown) => {
    if (isCode(cause, 'ENOENT')) return null;
    throw refused(`${socket} could not be looked at`, cause);
  });
  if (found === null) return;
  if (!found.isSocket())
    throw refused(`${socket} is something that is no socket: remove it, if it is not needed`);
  if (await isAnswered(socket)) throw refused(taken(socket));
  await unlink(socket);
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

async function bind(server: Server, socket: string): Promise<void> {
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
  const { mode } = await lstat(socket);
  if ((mode & 0o777) === 0o660) return;
  server.close();
  throw refused(`${socket} got the mode ${(mode & 0o777).toString(8)}, not 660`);
}

function taken(socket: string): string {
  return `another TPM broker answers at ${socket}: stop it first (systemctl status assay-tpm-broker)`;
}

function refused(text: string, cause?: unknown): AgentError {
  return new AgentError('tpm_broker', text, { cause });
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
