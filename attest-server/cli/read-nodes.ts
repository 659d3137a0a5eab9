import type { z } from 'zod';
import { listOf } from '../api/list.ts';
import { type NodeLine, type NodeView, nodeLine, nodeView } from '../api/node-api.ts';
import { type Client, Refusal } from './client.ts';
import { CliError } from './exit.ts';

const nodeList = listOf(nodeView);
const lineList = listOf(nodeLine);

/** Their TPMs and names are bound as before. */
export const withGone: Readonly<Record<string, string>> = { all: 'true' };

/** Every node that the server lists, or those that parameters of `GET /v1/nodes` choose, page by page. */
export function readNodes(
  server: Client,
  parameters: Readonly<Record<string, string>> = {},
): Promise<readonly NodeView[]> {
  return readPages(server, parameters, nodeList);
}

/** The same as lines of a table. All else that the server says of a node is passed over: of many nodes, it would take most of the time. */
export function readNodeLines(
  server: Client,
  parameters: Readonly<Record<string, string>>,
): Promise<readonly NodeLine[]> {
  return readPages(server, parameters, lineList);
}

async function readPages<Item>(
  server: Client,
  parameters: Readonly<Record<string, string>>,
  schema: z.ZodType<{ readonly items: readonly Item[]; readonly next: string | null }>,
): Promise<readonly Item[]> {
  const nodes: Item[] = [];
  const query = new URLSearchParams(parameters);
  for (;;) {
    const page = await server.get(`/v1/nodes${query.size === 0 ? '' : `?${query}`}`, schema);
    nodes.push(...page.items);
    if (page.next === null || page.items.length === 0) return nodes;
    query.set('after', page.next);
  }
}

/** @throws Refusal 404 if there is none of that name */
export function readNode(server: Client, name: string): Promise<NodeView> {
  return server.get(`/v1/nodes/${encodeURIComponent(name)}`, nodeView);
}

/** Nodes that were asked for by name, each once. */
export interface NamedNodes<View = NodeView> {
  /** Nodes that the server knows, in the order in which they were named. */
  readonly nodes: readonly View[];
  readonly missing: readonly string[];
}

export async function readNamedNodes(server: Client, names: readonly string[]): Promise<NamedNodes> {
  const nodes: NodeView[] = [];
  const missing: string[] = [];
  for (const name of new Set(names)) {
    const found = await readNode(server, name).catch((error: unknown) => {
      if (error instanceof Refusal && error.status === 404) return null;
      throw error;
    });
    if (found === null) missing.push(name);
    else nodes.push(found);
  }
  return { nodes, missing };
}

/** Ends a command that has shown the others. @throws CliError if a node is missing */
export function checkAllFound({ missing }: NamedNodes<unknown>): void {
  if (missing.length > 0)
    throw new CliError(
      `not found: there is no such node: ${missing.join(', ')}`,
      'assay get nodes lists all nodes.',
    );
}
