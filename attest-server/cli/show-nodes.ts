import type { NodeView } from '../api/node-api.ts';
import type { CliContext } from './context.ts';
import { exitOfStates } from './exit.ts';
import { type Format, printNodes } from './output.ts';
import { checkAllFound, readNamedNodes } from './read-nodes.ts';
import { readingOf, type TextFormat } from './readable.ts';

export interface ShowOptions {
  readonly output: Format;
  readonly utc?: boolean;
}

/**
 * Shows a page about each of these nodes; exits by the worst state.
 * @param between the pages
 * @throws CliError if a node is missing, once the others are shown
 */
export async function showNodes(
  { io, server, exitWith }: CliContext,
  names: readonly string[],
  { output: format, utc }: ShowOptions,
  page: (node: NodeView, textFormat: TextFormat) => string,
  between: string,
): Promise<void> {
  const found = await readNamedNodes(await server(), names);
  const textFormat = readingOf(io, utc);
  await printNodes(io, format, names, found.nodes, () =>
    found.nodes.map((node) => page(node, textFormat)).join(between),
  );
  checkAllFound(found);
  exitWith(exitOfStates(found.nodes.map(({ state }) => state)));
}
