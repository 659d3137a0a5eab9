import type { NodeView } from '../api/node-api.ts';
import { printable } from '../wire/printable.ts';
import { type Client, mayPass, Refusal } from './client.ts';
import type { CliIo } from './io.ts';
import { type LookIntervals, NodeChanges } from './node-changes.ts';
import type { Format } from './output.ts';
import { printableJson, printableValue } from './printable.ts';
import { checkAllFound, type NamedNodes, readNode } from './read-nodes.ts';

export interface WatchOptions {
  readonly io: CliIo;
  readonly client: Client;
  readonly format: Format;
  readonly intervals: LookIntervals;
  /** Milliseconds after which it ends by itself; null: never. */
  readonly longest: number | null;
  /** The watched nodes as they are now, in order. */
  readonly read: () => Promise<NamedNodes>;
  /** Lines of a table, one for each node; with the heading where they are the first. */
  readonly rows: (nodes: readonly NodeView[], isFirst: boolean) => string;
}

/**
 * `get nodes --watch`: all nodes, then each one that changed, until Ctrl-C. A node that does not match the filter any
 * more is shown once as it is now. A server that does not answer is asked again.
 */
export async function watchNodes(watch: WatchOptions): Promise<void> {
  const { io, client, intervals, longest } = watch;
  const byHand = io.interrupted();
  const interrupted =
    longest === null
      ? byHand
      : AbortSignal.any([byHand, AbortSignal.timeout(Math.min(longest, longestTimer))]);
  const end = () => client.close();
  interrupted.addEventListener('abort', end, { once: true });
  try {
    const first = await watch.read();
    await show(watch, first.nodes, first.nodes, true);
    checkAllFound(first);
    let known = new Map(first.nodes.map((node) => [node.name, node]));
    let isLost = false;
    using changes = new NodeChanges(client, intervals, interrupted);
    for (;;) {
      await changes.next();
      try {
        known = await showChanges(watch, known);
        if (isLost) io.err('assay: the server answers again\n');
        isLost = false;
      } catch (error) {
        if (interrupted.aborted || !mayPass(error)) throw error;
        if (!isLost)
          io.err(`assay: ${printable(error.message)}; the table may be out of date; trying again\n`);
        isLost = true;
      }
    }
  } catch (error) {
    // Ctrl-C, or the time that was given, is how it ends.
    if (!interrupted.aborted) throw error;
  } finally {
    interrupted.removeEventListener('abort', end);
  }
}

/** A timer of more would fire at once. */
const longestTimer = 2 ** 31 - 1;

type ShownNodes = Map<string, NodeView>;

async function showChanges(watch: WatchOptions, known: ShownNodes): Promise<ShownNodes> {
  const { nodes, missing } = await watch.read();
  const now = new Map(nodes.map((node) => [node.name, node]));
  const left = [...known.keys()].filter((name) => !now.has(name));
  const leaving: NodeView[] = [];
  for (const name of left) {
    const node = missing.includes(name) ? null : await lookUp(watch.client, name);
    if (node === null) watch.io.err(`assay: ${printable(name)} is no longer a node\n`);
    else leaving.push(node);
  }
  const changed = nodes.filter((node) => essence(node) !== essence(known.get(node.name)));
  if (changed.length + leaving.length > 0)
    await show(watch, [...changed, ...leaving], [...nodes, ...leaving], false);
  return now;
}

function lookUp(client: Client, name: string): Promise<NodeView | null> {
  return readNode(client, name).catch((error: unknown) => {
    if (error instanceof Refusal && error.status === 404) return null;
    throw error;
  });
}

/** The part of a node that a watcher wants to hear of; times of the latest verdict move with each answer. */
function essence(node: NodeView | undefined): string {
  if (node === undefined) return '';
  const { state, reasons, aspects, bootedAt, group, policy, mode, bound, kernel, tpm } = node;
  const codes = reasons.map(({ code, severity }) => [code, severity]);
  return JSON.stringify([state, codes, aspects, bootedAt, group, policy, mode, bound, kernel, tpm]);
}

/** @param all of which the widths of the columns come, so that lines stand below each other */
async function show(
  { io, format, rows }: WatchOptions,
  nodes: readonly NodeView[],
  all: readonly NodeView[],
  isFirst: boolean,
): Promise<void> {
  if (format === 'json') for (const node of nodes) io.out(`${printableJson(node, 0)}\n`);
  else if (format === 'yaml') {
    const { yamlText } = await import('./yaml-text.ts');
    for (const node of nodes) io.out(`---\n${yamlText(printableValue(node))}`);
  } else if (format === 'name') for (const { name } of nodes) io.out(`${printable(name)}\n`);
  else if (isFirst) io.out(rows(nodes, true));
  else {
    const lines = rows(all, false).split('\n');
    io.out(all.flatMap((node, at) => (nodes.includes(node) ? [`${lines[at]}\n`] : [])).join(''));
  }
}
