import { manyAlike, type NodeLine } from '../../api/node-api.ts';
import { nodeFilter } from '../../api/node-filter.ts';
import { suggestion } from '../../formats/nearest.ts';
import { printable } from '../../wire/printable.ts';
import { classOf } from '../../wire/reasons.ts';
import { type NodeState, nodeStates } from '../../wire/verdict.ts';
import { type Client, Refusal } from '../client.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { parseDuration } from '../moment.ts';
import { type LookIntervals, NodeChanges } from '../node-changes.ts';
import { compareBy, countedStates } from '../node-order.ts';
import { nodeTable } from '../node-table.ts';
import { type Format, print, printNodes, templateOf } from '../output.ts';
import {
  checkAllFound,
  type NamedNodes,
  readNamedNodes,
  readNodeLines,
  readNodes,
  withGone,
} from '../read-nodes.ts';

export interface GetOptions {
  readonly output: Format;
  readonly state?: readonly string[];
  readonly reason?: readonly string[];
  readonly group?: readonly string[];
  readonly selector?: string;
  readonly all?: boolean;
  readonly sortBy: string;
  readonly headers: boolean;
  readonly watch?: boolean;
  readonly interval?: string;
  readonly wait?: string;
  readonly timeout?: string;
  readonly utc?: boolean;
}

/** `get nodes [NAME...]`: exit 0 whatever the states, save `--wait` that runs out (11) and a name that is unknown (1). */
export async function getNodes(
  { io, server, exitWith }: CliContext,
  names: readonly string[],
  options: GetOptions,
): Promise<void> {
  const { output: format, utc = false, headers, watch = false, timeout: longest = '60s' } = options;
  const wanted = options.wait === undefined ? null : stateOf(options.wait);
  const timeout = parseDuration(longest, '--timeout') * 1000;
  const intervals = intervalsOf(options.interval);
  if (watch && wanted !== null)
    throw new CliError('--watch and --wait do not go together', 'Give one of them.', exit.usage);
  if (watch && templateOf(format) !== null)
    throw new CliError(
      '--watch has no templates',
      'Use it with -o json, a line for each change.',
      exit.usage,
    );
  const order = compareBy(options.sortBy);
  const parameters = parametersOf(names, options);
  const client = await server();
  const sorted = <View extends NodeLine>({ nodes, missing }: NamedNodes<View>) => ({
    nodes: nodes.toSorted(order),
    missing,
  });
  const read = async () =>
    sorted(
      names.length > 0 ? await readNamedNodes(client, names) : await listed(readNodes(client, parameters)),
    );
  const rows = (nodes: readonly NodeLine[], isFirst: boolean) =>
    nodeTable(nodes, {
      wide: format === 'wide',
      headers: headers && isFirst,
      utc,
      colour: io.colour,
      now: io.now(),
    });
  if (watch) {
    const { watchNodes } = await import('../watch-nodes.ts');
    const end = options.timeout === undefined ? null : timeout;
    return watchNodes({ io, client, format, intervals, longest: end, read, rows });
  }
  const isForPeople = ['table', 'wide', 'name'].includes(format);
  const readShown: () => Promise<NamedNodes<NodeLine>> =
    isForPeople && names.length === 0
      ? async () => sorted(await listed(readNodeLines(client, parameters)))
      : read;
  const found = await waitFor(client, readShown, wanted, io.now() + timeout, io.now);
  const { nodes } = found;
  const text = () =>
    format === 'name' ? nodes.map(({ name }) => `${printable(name)}\n`).join('') : rows(nodes, true);
  if (names.length > 0) await printNodes(io, format, names, nodes, text, headers);
  else await print(io, format, { items: nodes, next: null }, text, headers);
  if (headers && (format === 'table' || format === 'wide'))
    io.err(`${countsOf(nodes, names.length > 0)}${massHint(nodes)}`);
  checkAllFound(found);
  if (wanted === null || allIn(nodes, wanted)) return;
  io.err(`assay: not every node became ${wanted} within ${longest}\n`);
  exitWith(exit.notTrusted);
}

/** Parameters of `GET /v1/nodes`, checked here so that a wrong word asks no server. @throws CliError (usage) */
function parametersOf(names: readonly string[], options: GetOptions): Readonly<Record<string, string>> {
  const { state, reason, group, selector } = options;
  const parameters = {
    ...(state && { state: state.join(',') }),
    ...(reason && { reason: reason.join(',') }),
    ...(group && { group: group.join(',') }),
    ...(selector !== undefined && { selector }),
  };
  const [first] = Object.keys(parameters);
  if (names.length > 0 && first !== undefined)
    throw new CliError(`--${first} and names of nodes do not go together`, 'Give one of them.', exit.usage);
  const issue = nodeFilter.safeParse(parameters).error?.issues[0];
  if (issue !== undefined)
    throw new CliError(`--${issue.path.join('.')}: ${issue.message}`, null, exit.usage);
  return options.all === true ? { ...parameters, ...withGone } : parameters;
}

async function listed<View>(list: Promise<readonly View[]>): Promise<NamedNodes<View>> {
  try {
    return { nodes: await list, missing: [] };
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 400) throw error;
    throw new CliError(error.message, error.hint, exit.usage, error);
  }
}

const whileWatching: LookIntervals = { told: 15_000, polled: 2000 };
const whileWaiting: LookIntervals = { told: 5000, polled: 500 };

function intervalsOf(given: string | undefined): LookIntervals {
  if (given === undefined) return whileWatching;
  const every = parseDuration(given, '--interval') * 1000;
  // A timer of more than 24.8 days would fire at once.
  if (every < 1000 || every > 86_400_000)
    throw new CliError(`--interval ${given} is not between 1s and 1d`, null, exit.usage);
  return { told: every, polled: every };
}

async function waitFor(
  client: Client,
  read: () => Promise<NamedNodes<NodeLine>>,
  wanted: NodeState | null,
  deadline: number,
  now: () => number,
): Promise<NamedNodes<NodeLine>> {
  let found = await read();
  if (wanted === null || allIn(found.nodes, wanted)) return found;
  using changes = new NodeChanges(client, whileWaiting);
  for (let left = deadline - now(); left > 0 && !allIn(found.nodes, wanted); left = deadline - now()) {
    await changes.next(left);
    found = await read();
  }
  return found;
}

/** No node at all is no success: never green on missing data. */
function allIn(nodes: readonly NodeLine[], wanted: NodeState): boolean {
  return nodes.length > 0 && nodes.every(({ state }) => state === wanted);
}

function stateOf(given: string): NodeState {
  const found = nodeStates.find((state) => state === given);
  if (found === undefined)
    throw new CliError(
      `--wait ${given} is not a state${suggestion(given, nodeStates)}`,
      `States are ${nodeStates.join(', ')}.`,
      exit.usage,
    );
  return found;
}

/** `3 nodes: 1 trusted, 2 unknown`; nothing of one node that was named. On standard error: scripts cut the table. */
function countsOf(nodes: readonly NodeLine[], areNamed: boolean): string {
  if (nodes.length === 0) return areNamed ? '' : 'no nodes\n';
  if (nodes.length === 1) return '';
  const counts = countedStates.flatMap((state) => {
    const count = nodes.filter((node) => node.state === state).length;
    return count === 0 ? [] : [`${count} ${state}`];
  });
  const exempt = nodes.filter(({ exemption }) => exemption !== null).length;
  return `${nodes.length} nodes: ${counts.join(', ')}${exempt > 0 ? `; ${exempt} exempt` : ''}\n`;
}

/** The command where many nodes fail by one code, about the code of most of them; none where nodes are silent, or lie. */
function massHint(nodes: readonly NodeLine[]): string {
  const failing = nodes.filter(
    ({ state, reason }) => state === 'untrusted' && reason !== null && classOf(reason) !== 'failed',
  );
  const [most = []] = Map.groupBy(failing, ({ reason, ourChange }) => `${reason} ${ourChange}`)
    .values()
    .toArray()
    .sort((a, b) => b.length - a.length);
  const [first] = most;
  if (first === undefined || most.length < manyAlike) return '';
  const { name, reason, ourChange } = first;
  const by = `${most.length} nodes are untrusted by ${reason}`;
  return ourChange === null
    ? `${by}. What they have in common, and the command for all of them:\n  assay reference candidates\n`
    : `${by}, because of a change of ours (${ourChange}). The way back:\n  assay why ${printable(name)}\n`;
}
