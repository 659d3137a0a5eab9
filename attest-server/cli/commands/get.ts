import { setTimeout as delay } from 'node:timers/promises';
import { type NodeView, nodeView } from '../../protocol/api.ts';
import { printable } from '../../protocol/printable.ts';
import { type NodeState, nodeStates } from '../../protocol/verdict.ts';
import type { Client } from '../client.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { parseDuration } from '../moment.ts';
import { nodeTable } from '../node-table.ts';
import { type Format, print } from '../output.ts';
import { readNodes } from '../read-nodes.ts';

export interface GetOptions {
  readonly output: Format;
  readonly wait?: string;
  readonly timeout: string;
  readonly utc?: boolean;
}

/** `get nodes [NAME]`: exit 0 whatever the states, save `--wait` that runs out (11). */
export async function getNodes(
  { io, server, exitWith }: CliContext,
  name: string | undefined,
  { output: format, wait, timeout: longest, utc = false }: GetOptions,
): Promise<void> {
  const wanted = wait === undefined ? null : stateOf(wait);
  const timeout = parseDuration(longest, '--timeout') * 1000;
  const client = await server();
  const nodes = await waitFor(() => listed(client, name), wanted, io.now() + timeout, io.now);
  const { colour } = io;
  await print(io, format, name === undefined ? { items: nodes, next: null } : nodes[0], () =>
    format === 'name'
      ? nodes.map((node) => `${printable(node.name)}\n`).join('')
      : nodeTable(nodes, { wide: format === 'wide', utc, colour, now: io.now() }),
  );
  if (wanted === null || allIn(nodes, wanted)) return;
  io.err(`assay: not every node became ${wanted} within ${longest}\n`);
  exitWith(exit.notTrusted);
}

const pollMs = 500;

async function listed(client: Client, name: string | undefined): Promise<readonly NodeView[]> {
  if (name === undefined) return readNodes(client);
  return [await client.get(`/v1/nodes/${encodeURIComponent(name)}`, nodeView)];
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

function stateOf(given: string): NodeState {
  const found = nodeStates.find((state) => state === given);
  if (found === undefined)
    throw new CliError(`--wait ${given} is no state`, `States are ${nodeStates.join(', ')}.`, exit.usage);
  return found;
}
