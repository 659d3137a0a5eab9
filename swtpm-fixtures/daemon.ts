import type { ChildProcess } from 'node:child_process';
import { start, startError } from 'node-tpm2/run';

/** A program that runs beside this one until it is killed. */
export interface Daemon {
  readonly pid: number;
  /** Resolves when the program has ended, with what it said on stderr (its last 4096 characters). */
  readonly ended: Promise<string>;
  /** Sends the signal and waits for the end. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/**
 * Starts a long-lived program by argv, in a process group of its own: Ctrl-C at the terminal does not reach it.
 * The kernel ends it when this process dies, even by SIGKILL (setpriv --pdeathsig).
 */
export async function startDaemon(program: string, args: readonly string[]): Promise<Daemon> {
  const child = start('setpriv', ['--pdeathsig', 'KILL', '--', program, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4096);
  });
  const ended = new Promise<string>((resolve) => {
    child.once('close', () => {
      running.delete(child);
      resolve(said);
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) => reject(startError('setpriv', cause)));
  });
  running.add(child);
  return {
    pid: child.pid ?? 0,
    ended,
    async kill(signal) {
      child.kill(signal);
      await ended;
    },
  };
}
