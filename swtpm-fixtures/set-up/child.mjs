import { spawn } from 'node:child_process';

/** Runs a program of the set-up to its end; what it prints goes to stderr, since stdout belongs to the program behind. */
export function runToEnd([program, ...args], { cwd, quiet = false } = {}) {
  const child = spawn(program, args, { cwd, stdio: ['ignore', ...(quiet ? ['ignore', 'ignore'] : [2, 2])] });
  return new Promise((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new Error(`${program} could not be started: ${cause.message}`, { cause })),
    );
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${[program, ...args].join(' ')} ended with ${code ?? signal}`));
    });
  });
}
