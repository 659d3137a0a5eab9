import { join } from 'node:path';
import { start } from 'node-tpm2/run';
import { z } from 'zod';
import { unshared } from '../../../own-namespaces.ts';
import type { Question } from './in-namespace.ts';

/** A network namespace with real tables of its own, and a process in it that does what it is asked for, one after the other. */
export interface Inside extends AsyncDisposable {
  /** Of the process. */
  readonly pid: number;
  /** @throws Error where a program fails */
  ask(question: Question): Promise<unknown>;
}

const said = z.union([z.strictObject({ said: z.unknown() }), z.strictObject({ fault: z.string() })]);

export async function openInside(): Promise<Inside> {
  const [enter, ...args] = unshared('--net');
  const child = start(enter, [...args, process.execPath, join(import.meta.dirname, 'in-namespace.ts')], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    ...(process.env.NODE_COMPILE_CACHE !== undefined && {
      env: { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
    }),
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const answer = () =>
    new Promise<unknown>((resolve, reject) => {
      const onEnd = () => reject(new Error('the process in the namespace ended'));
      child.once('exit', onEnd).once('error', reject);
      child.once('message', (message) => {
        child.off('exit', onEnd).off('error', reject);
        const parsed = said.parse(message);
        if ('fault' in parsed) reject(new Error(parsed.fault));
        else resolve(parsed.said);
      });
    });
  await answer();
  let last: Promise<unknown> = Promise.resolve();
  return {
    pid: child.pid ?? 0,
    ask(question) {
      const next = last.then(() => {
        const answered = answer();
        child.send(question);
        return answered;
      });
      last = next.catch(() => {});
      return next;
    },
    async [Symbol.asyncDispose]() {
      child.disconnect();
      await ended;
    },
  };
}
