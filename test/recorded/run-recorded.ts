import { resolve } from 'node:path';
import { Argument, Command, CommanderError, Option } from 'commander';
import { paragraphs } from '../../attest-server/cli/commands/why.ts';
import { nextStep } from '../../attest-server/policy/advice.ts';
import { printable } from '../../attest-server/wire/printable.ts';
import { bootTable, tryBootLogs } from './boot-logs.ts';
import { judgeFolder, type Recorded, recordedKinds } from './judged-folder.ts';

interface Options {
  readonly baseline?: string;
  readonly output: 'table' | 'json';
}

export interface RecordedIo {
  out(text: string): void;
  err(text: string): void;
  /** The folder from which paths are told. */
  readonly from: string;
  /** Of the terminal; null where there is none. */
  readonly columns: number | null;
}

/**
 * Judges what was recorded of a machine, without one.
 * @returns the exit code: 0 where `strict` would affirm it, 10 where not, 1 for a fault, 2 where it is typed wrong
 */
export async function runRecorded(words: readonly string[], io: RecordedIo): Promise<number> {
  let code = 0;
  const program = new Command('npm run recorded --')
    .description(
      'Judge what somebody recorded of a machine, by the policy strict. Of boot: a firmware log, or a folder of some, ' +
        'each captured and then judged as the same boot; what tpm2_pcrread printed stands beside it in LOG.pcrs.',
    )
    .addArgument(new Argument('<what>', 'what was recorded').choices([...recordedKinds, 'boot']))
    .argument('<folder>', 'the folder')
    .option('--baseline <folder>', 'a folder of the same kind that becomes the reference (disk, firewall)')
    .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
    .configureOutput({ writeOut: io.out, writeErr: io.err })
    .exitOverride()
    .action(async (what: Recorded | 'boot', folder: string, options: Options) => {
      code = await judge(what, folder, options, io);
    });
  try {
    await program.parseAsync(words, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const text = error instanceof Error ? error.message : String(error);
    io.err(`recorded: ${printable(text)}\n`);
    return 1;
  }
}

async function judge(
  what: Recorded | 'boot',
  folder: string,
  { baseline, output }: Options,
  { out, from, columns }: RecordedIo,
): Promise<0 | 10> {
  if (what === 'boot') {
    const tried = await tryBootLogs(resolve(from, folder));
    out(output === 'json' ? `${JSON.stringify(tried)}\n` : bootTable(tried));
    return tried.every(({ state }) => state === 'trusted') ? 0 : 10;
  }
  const reference = baseline === undefined ? null : resolve(from, baseline);
  const { state, reasons } = await judgeFolder(what, resolve(from, folder), reference);
  const told = reasons.map((reason) => ({ ...reason, next: nextStep(reason) }));
  const page = () => {
    const reading = { width: columns ?? 100, utc: true, now: 0 };
    return `${printable(folder)} is ${state}\n${paragraphs(told, reading) || '  no problem was found\n'}`;
  };
  out(output === 'json' ? `${JSON.stringify({ state, reasons: told })}\n` : page());
  return state === 'trusted' ? 0 : 10;
}
