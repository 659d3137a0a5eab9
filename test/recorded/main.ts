import { runRecorded } from './run-recorded.ts';

process.exitCode = await runRecorded(process.argv.slice(2), {
  out: (text) => {
    process.stdout.write(text);
  },
  err: (text) => {
    process.stderr.write(text);
  },
  // npm runs its scripts in the folder of the package, wherever it was typed.
  from: process.env.INIT_CWD ?? process.cwd(),
  columns: process.stdout.columns ?? null,
});
