import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

/**
 * Claims a state folder for this process, until it is disposed of: two clusters in one folder would take each
 * other's TPMs.
 * @throws Error where another process has it
 */
export async function claimFolder(dir: string): Promise<AsyncDisposable> {
  const path = join(dir, 'running.sock');
  if (await answers(path))
    throw new Error(
      `another npm start runs in ${dir}: end it first (Ctrl-C in its terminal), or name another folder with --state-dir`,
    );
  await rm(path, { force: true });
  const claim = createServer((socket) => socket.destroy()).listen(path);
  await once(claim, 'listening');
  claim.unref();
  return {
    async [Symbol.asyncDispose]() {
      claim.close();
      await once(claim, 'close');
    },
  };
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
