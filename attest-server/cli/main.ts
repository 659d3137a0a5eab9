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
  now: Date.now,
  ask: terminal(),
});
