import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { OneServerReport } from './one-server/siege.ts';

interface Options {
  readonly rounds: number;
  readonly seed: string;
  readonly resume: boolean;
  readonly output: keyof typeof written;
}

const root = join(import.meta.dirname, '../..');

const written = {
  text: ({ faults, ...figures }: OneServerReport) =>
    [
      ...Object.entries(figures).map(([name, value]) => `${name.padEnd(18)}${value}`),
      ...faults.map(({ round, text }) => `FAULT  round ${round}: ${text}`),
      '',
    ].join('\n'),
  json: (report: OneServerReport) => `${JSON.stringify(report)}\n`,
} as const;

const program = new Command('npm run siege --')
  .description('Kill a server under load, and look whether anything is lost that it acknowledged.')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));
program
  .command('one-server')
  .description('one server on one state folder, killed by SIGKILL at a moment of chance in each round')
  .option('--rounds <n>', 'how often it is killed', count, 200)
  .option(
    '--seed <text>',
    'of what chance decides; the same makes the same plan, at the moments of this machine',
  )
  .option('--resume', 'go on with the state folder of the last run: it is kept in .siege', false)
  .addOption(new Option('-o, --output <format>').choices(Object.keys(written)).default('text'))
  .addHelpText('after', '\nEnds with 0 where nothing was lost, 1 where something was, 2 for wrong arguments.')
  .action(async ({ rounds, seed = randomBytes(4).toString('hex'), resume, output }: Options) => {
    const work = join(root, '.siege');
    if (resume && !existsSync(join(work, 'ledger.json')))
      program.error('there is nothing to go on with: leave --resume out', { exitCode: 2 });
    const ending = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort());
    process.stderr.write(`seed ${seed}\n`);
    // Who asks for help, or errs, waits for none of it.
    const { besiegeOneServer } = await import('./one-server/siege.ts');
    const report = await besiegeOneServer({
      ...{ work, rounds, seed, resumes: resume, signal: ending.signal },
      note: (line) => process.stderr.write(`${line}\n`),
    });
    process.stdout.write(written[output](report));
    process.exitCode = report.faults.length > 0 ? 1 : 0;
  });
await program.parseAsync();

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('must be a whole number above 0');
  return value;
}
