import { getSystemErrorMessage } from 'node:util';
import { exit } from './exit.ts';
import { runCli } from './program.ts';
import { terminal } from './terminal.ts';

// Whoever reads our output may stop reading (`assay get nodes | head`): that is no fault.
process.stdout.on('error', ({ code, errno, message }: NodeJS.ErrnoException) => {
  if (code === 'EPIPE') process.exit();
  const why = errno === undefined ? message : getSystemErrorMessage(errno);
  process.stderr.write(`assay: standard output could not be written: ${why}\n`);
  process.exit(exit.error);
});
// Nobody is left who could be told.
process.stderr.on('error', () => process.exit(exit.error));

process.exitCode = await runCli(process.argv.slice(2), {
  out: (text) => {
    process.stdout.write(text);
  },
  err: (text) => {
    process.stderr.write(text);
  },
  env: process.env,
  cwd: process.cwd(),
  colour: process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb',
  columns: process.stdout.isTTY === true ? process.stdout.columns || null : null,
  now: Date.now,
  ask: terminal(),
  get stdin() {
    return process.stdin;
  },
  interrupted() {
    const controller = new AbortController();
    // The second one ends a program that does not end.
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => controller.abort());
    return controller.signal;
  },
});

// Whoever pressed Tab does not wait for a name server that gives no answer.
if (process.argv[2] === '__complete') process.stdout.write('', () => process.exit());
