import { resolve } from 'node:path';
import { Argument, Command, Option } from 'commander';
import { paragraphs } from '../../attest-server/cli/commands/why.ts';
import { nextStep } from '../../attest-server/policy/advice.ts';
import { printable } from '../../attest-server/protocol/printable.ts';
import { bootTable, tryBootLogs } from './boot-logs.ts';
import { judgeFolder, type Recorded, recordedKinds } from './judged-folder.ts';

interface Options {
  readonly baseline?: string;
  readonly output: 'table' | 'json';
}

// npm runs its scripts in the folder of the package, wherever it was typed.
const from = process.env.INIT_CWD ?? process.cwd();

/** Judges what was recorded of a machine, without one: 0 where `strict` would affirm it, 10 where not, 1 for a fault. */
await new Command('npm run recorded --')
  .description(
    'Judge what somebody recorded of a machine, by the policy strict. Of boot: a firmware log, or a folder of some, ' +
      'each captured and then judged as the same boot; what tpm2_pcrread printed stands beside it in LOG.pcrs.',
  )
  .addArgument(new Argument('<what>', 'what was recorded').choices([...recordedKinds, 'boot']))
  .argument('<folder>', 'the folder')
  .option('--baseline <folder>', 'a folder of the same kind that becomes the reference (disk, firewall)')
  .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .action(async (what: Recorded | 'boot', folder: string, { baseline, output }: Options) => {
    try {
      if (what === 'boot') {
        const tried = await tryBootLogs(resolve(from, folder));
        process.stdout.write(output === 'json' ? `${JSON.stringify(tried)}\n` : bootTable(tried));
        process.exitCode = tried.every(({ state }) => state === 'trusted') ? 0 : 10;
        return;
      }
      const reference = baseline === undefined ? null : resolve(from, baseline);
      const { state, reasons } = await judgeFolder(what, resolve(from, folder), reference);
      const told = reasons.map((reason) => ({ ...reason, next: nextStep(reason) }));
      const page = () => {
        const reading = { width: process.stdout.columns ?? 100, utc: true, now: 0 };
        return `${printable(folder)} is ${state}\n${paragraphs(told, reading) || '  no problem was found\n'}`;
      };
      process.stdout.write(output === 'json' ? `${JSON.stringify({ state, reasons: told })}\n` : page());
      process.exitCode = state === 'trusted' ? 0 : 10;
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      process.stderr.write(`recorded: ${printable(text)}\n`);
      process.exitCode = 1;
    }
  })
  .parseAsync();
