import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { type NodeView, nodeView } from '../../protocol/api.ts';
import { type NodeState, nodeStates } from '../../protocol/verdict.ts';
import type { Client } from '../client.ts';
import { CliError, exit } from '../exit.ts';
import { parseDuration } from '../moment.ts';
import { nodeTable } from '../node-table.ts';
import { formatOf, print } from '../output.ts';
import { printable } from '../printable.ts';
import { readNodes } from '../read-nodes.ts';
import type { Session } from '../session.ts';

/** `get nodes [NAME]`: exit 0 whatever the states, save `--wait` that runs out (11). */
export function addGet(program: Command, { io, client, exitWith }: Session): void {
  const get = program.command('get').description('list nodes and their states');
  get
    .command('nodes [name]')
    .alias('node')
    .description('nodes and their states')
    .option('-o, --output <format>', 'table, wide, json, yaml or name', 'table')
    .option('--wait <state>', `wait until every node listed is ${nodeStates.join(', ')}`)
    .option('--timeout <duration>', 'how long --wait waits: 90s, 5m, 1h', '60s')
    .option('--utc', 'times as RFC 3339 instead of ages')
    .action(async (name: string | undefined, options: GetOptions, command: Command) => {
      const format = formatOf(options.output, ['table', 'wide', 'json', 'yaml', 'name']);
      const wanted = options.wait === undefined ? null : stateOf(options.wait);
      const timeout = parseDuration(options.timeout, '--timeout') * 1000;
      const server = client(command.optsWithGlobals());
      const nodes = await waitFor(() => listed(server, name), wanted, io.now() + timeout, io.now);
      print(io, format, name === undefined ? { items: nodes, next: null } : nodes[0], () =>
        format === 'name'
          ? nodes.map((node) => `${printable(node.name)}\n`).join('')
          : nodeTable(nodes, {
              wide: format === 'wide',
              utc: options.utc === true,
              colour: io.colour,
              now: io.now(),
            }),
      );
      if (wanted === null || allIn(nodes, wanted)) return;
      io.err(`assay: not every node became ${wanted} within ${options.timeout}\n`);
      exitWith(exit.notTrusted);
    });
}

interface GetOptions {
  readonly output: string;
  readonly wait?: string;
  readonly timeout: string;
  readonly utc?: boolean;
}

const pollMs = 500;

async function listed(server: Client, name: string | undefined): Promise<readonly NodeView[]> {
  if (name === undefined) return readNodes(server);
  return [await server.get(`/v1/nodes/${encodeURIComponent(name)}`, nodeView)];
}

async function waitFor(
  read: () => Promise<readonly NodeView[]>,
  wanted: NodeState | null,
  deadline: number,
  now: () => number,
): Promise<readonly NodeView[]> {
  for (;;) {
    const nodes = await read();
    const left = deadline - now();
    if (wanted === null || allIn(nodes, wanted) || left <= 0) return nodes;
    await delay(Math.min(pollMs, left));
  }
}

/** No node at all is no success: never green on missing data. */
function allIn(nodes: readonly NodeView[], wanted: NodeState): boolean {
  return nodes.length > 0 && nodes.every(({ state }) => state === wanted);
}

function stateOf(word: string): NodeState {
  const found = nodeStates.find((state) => state === word);
  if (found === undefined)
    throw new CliError(`--wait ${word} is no state`, `States are ${nodeStates.join(', ')}.`, exit.usage);
  return found;
}
