import type { Command } from 'commander';
import { exit } from '../../exit.ts';
import { formatOf, print } from '../../output.ts';
import { printable } from '../../printable.ts';
import type { Session } from '../../session.ts';
import { type BootDiff, diffBoots, type EventOfDiff, followingStages } from './diff.ts';
import { readBootSide } from './side.ts';

/** `boot diff A B`: the cause first, then every event that differs; exits 10 where they differ in what counts. */
export function addBoot(program: Command, { io, client, exitWith }: Session): void {
  program
    .command('boot')
    .description('boots: what a machine measured from its firmware to its kernel')
    .command('diff <a> <b>')
    .description(
      'what differs between two boots, the good one first: files (a firmware log, an exported bundle), or nodes at the server, NODE or NODE@DIGEST as `assay history -o wide` shows it',
    )
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .action(async (a: string, b: string, options: { output: string }, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      const side = (word: string) => readBootSide(word, io.cwd, () => client(command.optsWithGlobals()));
      const diff = diffBoots(await side(a), await side(b), io.now());
      print(io, format, diff, () => page(diff));
      exitWith(diff.same ? exit.ok : exit.untrusted);
    });
}

function page(diff: BootDiff): string {
  const { same, findings, differences } = diff;
  const following = followingStages(diff);
  const lines = [
    ...(same ? ['Both boots are the same in all that counts.'] : findings.map(({ text }) => text)),
    ...(following.length === 0 ? [] : [`With it changed: ${following.join(', ')}.`]),
    ...differences.flatMap(event),
  ];
  return lines.map((line) => `${printable(line)}\n`).join('');
}

const words = { cause: 'the cause', follows: 'follows', never: 'never counts' } as const;

function event({ pcr, stage, type, expected, actual, counts }: EventOfDiff): readonly string[] {
  return [
    `${words[counts]}: PCR ${pcr}, ${stage}, ${type}`,
    `  - ${expected ?? 'nothing'}`,
    `  + ${actual ?? 'nothing'}`,
  ];
}
