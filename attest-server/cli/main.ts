import { runCli } from './program.ts';
import { terminal } from './terminal.ts';

// Whoever reads our output may stop reading (`assay get nodes | head`): that is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

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
});
