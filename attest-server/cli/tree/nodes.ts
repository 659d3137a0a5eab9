import type { Command } from 'commander';
import type { GetOptions } from '../commands/get.ts';
import type { EnrolmentsOptions } from '../commands/get-enrolments.ts';
import type { HistoryOptions } from '../commands/history.ts';
import type { CliContext } from '../context.ts';
import { type Formatted, outputOption } from './option.ts';

export function addNodes(program: Command, context: CliContext): void {
  const get = program.command('get').description('list nodes and their states, or who is enrolled');
  get
    .command('nodes [name]')
    .alias('node')
    .description('nodes and their states')
    .addOption(outputOption('table', 'wide', 'json', 'yaml', 'name'))
    .option(
      '--wait <state>',
      'wait until every node listed is pending, trusted, untrusted, unknown, unsupported',
    )
    .option('--timeout <duration>', 'how long --wait waits: 90s, 5m, 1h', '60s')
    .option('--utc', 'times as RFC 3339 instead of ages')
    .action(async (name: string | undefined, options: GetOptions) =>
      (await import('../commands/get.ts')).getNodes(context, name, options),
    );
  get
    .command('enrolments [name]')
    .alias('enrolment')
    .description('enrolled nodes with their keys: by which method, by whom, since when')
    .addOption(outputOption('table', 'wide', 'json', 'yaml', 'name'))
    .option('--utc', 'times as RFC 3339 instead of ages')
    .action(async (name: string | undefined, options: EnrolmentsOptions) =>
      (await import('../commands/get-enrolments.ts')).getEnrolments(context, name, options),
    );
  const describe = program.command('describe').description('everything about one node');
  describe
    .command('node <name>')
    .description('everything about one node')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (name: string, { output }: Formatted) =>
      (await import('../commands/describe.ts')).describeNode(context, name, output),
    );
  program
    .command('why <node>')
    .description('why a node is in its state, and what to do')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (node: string, { output }: Formatted) =>
      (await import('../commands/why.ts')).explainNode(context, node, output),
    );
  program
    .command('history <node>')
    .description('verdicts of a node, newest first')
    .addOption(outputOption('table', 'wide', 'json', 'yaml'))
    .option('--limit <count>', 'at most so many, 1 to 500', '50')
    .option('--transitions', 'only where the state changed, as far back as the history goes')
    .option('--before <next>', 'older ones: the `next` of an earlier answer with -o json')
    .option('--utc', 'times as RFC 3339 instead of ages')
    .action(async (node: string, options: HistoryOptions) =>
      (await import('../commands/history.ts')).showHistory(context, node, options),
    );
}
