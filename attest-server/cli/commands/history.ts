import type { Command } from 'commander';
import type { HistoryView } from '../../protocol/api.ts';
import { CliError, exit } from '../exit.ts';
import { ago, utc } from '../moment.ts';
import { formatOf, print } from '../output.ts';
import { readHistory } from '../read-history.ts';
import type { Session } from '../session.ts';
import { table } from '../table.ts';

interface HistoryOptions {
  readonly output: string;
  readonly limit: string;
  readonly transitions?: boolean;
  readonly before?: string;
  readonly utc?: boolean;
}

/** `history N`: verdicts, newest first. */
export function addHistory(program: Command, { io, client }: Session): void {
  program
    .command('history <node>')
    .description('verdicts of a node, newest first')
    .option('-o, --output <format>', 'table, wide, json or yaml', 'table')
    .option('--limit <count>', 'at most so many, 1 to 500', '50')
    .option('--transitions', 'only where the state changed, as far back as the history goes')
    .option('--before <next>', 'older ones: the `next` of an earlier answer with -o json')
    .option('--utc', 'times as RFC 3339 instead of ages')
    .action(async (name: string, options: HistoryOptions, command: Command) => {
      const format = formatOf(options.output, ['table', 'wide', 'json', 'yaml']);
      const limit = Number(options.limit);
      if (!Number.isInteger(limit) || limit < 1 || limit > 500)
        throw new CliError(`--limit ${options.limit} is not a number from 1 to 500`, null, exit.usage);
      const server = client(command.optsWithGlobals());
      const { items, next } = await readHistory(server, name, {
        limit,
        transitions: options.transitions === true,
        before: options.before ?? null,
      });
      print(io, format, { items, next }, () =>
        table(
          ['AT', 'STATE', 'REASON', 'POLICY', 'CHANGED', ...(format === 'wide' ? ['EVIDENCE'] : [])],
          items.map((entry) => [
            ...row(entry, options.utc === true, io.now()),
            ...(format === 'wide' ? [entry.evidence ?? '-'] : []),
          ]),
        ),
      );
    });
}

function row(
  { at, state, reason, policy, transition }: HistoryView,
  absolute: boolean,
  now: number,
): string[] {
  return [absolute ? utc(at) : ago(at, now), state, reason ?? '-', policy, transition ? 'yes' : '-'];
}
