import type { Command } from 'commander';
import type { AttestOptions } from '../commands/attest.ts';
import type { EventsOptions } from '../commands/events.ts';
import type { GetOptions } from '../commands/get.ts';
import type { EnrolmentsOptions } from '../commands/get-enrolments.ts';
import type { HistoryOptions } from '../commands/history.ts';
import type { CliContext } from '../context.ts';
import type { ShowOptions } from '../show-nodes.ts';
import { nodeArgument, nodesArgument, outputOption, several, utcOption } from './option.ts';

/** Adds the commands that show nodes. */
export function addNodes(program: Command, context: CliContext, get: Command): void {
  get
    .command('nodes')
    .aliases(['node', 'no'])
    .description('list nodes and their states; the counts by state go to standard error')
    .addArgument(nodesArgument('[node...]', 'only these; default: all'))
    .addOption(outputOption('table', 'wide', 'json', 'yaml', 'name', 'jsonpath=', 'custom-columns='))
    .option(
      '--state <state>',
      'only nodes in this state; separate several with commas, or repeat the option',
      several,
    )
    .option('--reason <code>', 'only nodes with this code among their reasons', several)
    .option('--group <group>', 'only nodes of this group of the policy', several)
    .option('-l, --selector <labels>', 'only nodes with these labels in their cluster: key=value,key!=value')
    .option('--all', 'also nodes that are gone from the cluster; one that is named is shown anyway')
    .option(
      '--sort-by <column>',
      'name, state (the worst first), reason, group; since, age, verified (the newest first)',
      'name',
    )
    .option('--no-headers', 'leave out the heading and the line of counts')
    .option('-w, --watch', 'keep running and show each node that changes; Ctrl-C ends it')
    .option(
      '--interval <duration>',
      'time between two requests of --watch, 1s to 1d; default: 15s while the server tells what changes, else 2s',
    )
    .option(
      '--wait <state>',
      'wait until every node listed is pending, trusted, untrusted, unknown, unsupported',
    )
    .option(
      '--timeout <duration>',
      'longest time for --wait (default 60s) and --watch (default none): 90s, 5m, 1h',
    )
    .addOption(utcOption())
    .action(async (names: readonly string[], options: GetOptions) =>
      (await import('../commands/get.ts')).getNodes(context, names, options),
    );
  get
    .command('enrolments [name]')
    .alias('enrolment')
    .description('list enrolled nodes: their keys, and how, by whom and when they were enrolled')
    .addOption(outputOption('table', 'wide', 'json', 'yaml', 'name', 'jsonpath=', 'custom-columns='))
    .option('--utc', 'times as RFC 3339 instead of ages')
    .action(async (name: string | undefined, options: EnrolmentsOptions) =>
      (await import('../commands/get-enrolments.ts')).getEnrolments(context, name, options),
    );
  const describe = program.command('describe').description('show everything about one or several nodes');
  describe
    .command('node', { isDefault: true })
    .alias('nodes')
    .description('show everything about one or several nodes; you may leave out the word `node`')
    .addArgument(nodesArgument('<node...>'))
    .addOption(outputOption('table', 'json', 'yaml', 'jsonpath=', 'custom-columns='))
    .addOption(utcOption())
    .action(async (names: readonly string[], options: ShowOptions) =>
      (await import('../commands/describe.ts')).describeNodes(context, names, options),
    );
  program
    .command('why')
    .description('show why a node is in its state, and what to do next')
    .addArgument(nodesArgument('<node...>'))
    .addOption(outputOption('table', 'json', 'yaml', 'jsonpath=', 'custom-columns='))
    .addOption(utcOption())
    .action(async (names: readonly string[], options: ShowOptions) =>
      (await import('../commands/why.ts')).explainNodes(context, names, options),
    );
  program
    .command('history')
    .description('show the verdicts of a node, newest first')
    .addArgument(nodeArgument())
    .addOption(outputOption('table', 'wide', 'json', 'yaml', 'jsonpath=', 'custom-columns='))
    .option('--limit <count>', 'largest number of verdicts, 1 to 500', '50')
    .option('--transitions', 'only verdicts that changed the state, through the whole history')
    .option('--before <next>', 'continue with older ones: the value `next` of an earlier answer with -o json')
    .addOption(utcOption())
    .action(async (node: string, options: HistoryOptions) =>
      (await import('../commands/history.ts')).showHistory(context, node, options),
    );
  program
    .command('events')
    .description('show what happened to nodes, marks and server, the oldest first')
    .option('-f, --follow', 'keep running and show what happens from now on; Ctrl-C ends it')
    .option('--node <node>', 'only events of this node')
    .option('--group <group>', 'only events of this group of the policy, and of its nodes')
    .option(
      '--event <event>',
      'only these events; separate several with commas, or repeat the option',
      several,
    )
    .option('--after <id>', 'only what came after this event: its id, or a number of the audit log')
    .addOption(outputOption('table', 'json'))
    .action(async (options: EventsOptions) =>
      (await import('../commands/events.ts')).showEvents(context, options),
    );
  program
    .command('attest')
    .description('make a node prove itself now, and wait for the verdict')
    .addArgument(nodeArgument())
    .option('--wait', 'wait for the verdict (this is the default)')
    .option('--no-wait', 'ask, and do not wait for the verdict')
    .option('--timeout <duration>', 'longest time to wait: 90s, 5m', '60s')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (node: string, options: AttestOptions) =>
      (await import('../commands/attest.ts')).attestNode(context, node, options),
    );
}
