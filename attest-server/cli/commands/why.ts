import { adviceOn } from '../../protocol/advice.ts';
import type { NodeView, ReasonView } from '../../protocol/api.ts';
import { printable } from '../../protocol/printable.ts';
import { componentOf } from '../component.ts';
import type { CliContext } from '../context.ts';
import { exitOfStates } from '../exit.ts';
import { stateText } from '../node-table.ts';
import { type Format, printNodes } from '../output.ts';
import { checkAllFound, readNamedNodes } from '../read-nodes.ts';
import { standing } from './known.ts';

/** `why N...`: each reason with what was expected, what was found, who says so, and what to do; exits by the worst state. */
export async function explainNodes(
  { io, server, exitWith }: CliContext,
  names: readonly string[],
  format: Format,
): Promise<void> {
  const found = await readNamedNodes(await server(), names);
  await printNodes(io, format, names, found.nodes, () => found.nodes.map(explanation).join(''));
  checkAllFound(found);
  exitWith(exitOfStates(found.nodes.map(({ state }) => state)));
}

function explanation(node: NodeView): string {
  const head = `${printable(node.name)} is ${stateText(node)}\n`;
  if (node.reasons.length === 0) return `${head}  nothing speaks against it\n${standing(node)}`;
  return head + node.reasons.map((reason) => paragraph(reason, node.name)).join('') + standing(node);
}

const sources = {
  tpm: 'tpm (signed by the TPM)',
  host: 'host (the node says so)',
  server: 'server (observed by the server)',
} as const;

/** One reason for a person; also for the offline `verify`. */
export function paragraph(reason: ReasonView, node: string | null = null): string {
  const kind = reason.class === 'drift' ? 'changed' : reason.class;
  const lines: readonly (readonly [string, string])[] = [
    ['component', `${componentOf(reason)} (${reason.aspect}; ${kind}, ${reason.severity})`],
    ['expected', reason.expected ?? '-'],
    ['actual', reason.actual ?? '-'],
    ['source', sources[reason.source]],
    ...(reason.evidence === null
      ? []
      : ([['evidence', `${reason.evidence.digest} at ${reason.evidence.position}`]] as const)),
    ['next', reason.next ?? adviceOn(reason.code, node)],
  ];
  const body = lines.map(([label, text]) => `    ${label.padEnd(11)}${printable(text)}\n`).join('');
  return `  ${reason.code}: ${printable(reason.text)}\n${body}`;
}
