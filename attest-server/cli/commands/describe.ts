import { adviceOn } from '../../protocol/advice.ts';
import type { NodeView, ReasonView } from '../../protocol/api.ts';
import { printable } from '../../protocol/printable.ts';
import type { CliContext } from '../context.ts';
import { exitOfStates } from '../exit.ts';
import { relative, utc } from '../moment.ts';
import { selfReported, stateText } from '../node-table.ts';
import { type Format, printNodes } from '../output.ts';
import { checkAllFound, readNamedNodes } from '../read-nodes.ts';

/** `describe node N...`: everything about nodes; exits by the worst state. */
export async function describeNodes(
  { io, server, exitWith }: CliContext,
  names: readonly string[],
  format: Format,
): Promise<void> {
  const found = await readNamedNodes(await server(), names);
  await printNodes(io, format, names, found.nodes, () =>
    found.nodes.map((node) => page(node, io.now())).join('\n'),
  );
  checkAllFound(found);
  exitWith(exitOfStates(found.nodes.map(({ state }) => state)));
}

function page(node: NodeView, now: number): string {
  const moment = (at: string | null) => (at === null ? '-' : `${utc(at)} (${relative(at, now)})`);
  const own = selfReported(node);
  const first = node.reasons[0];
  const lines: readonly (readonly [string, string])[] = [
    ['Name', node.name],
    ['State', stateText(node)],
    ['Reason', node.reason ?? '-'],
    ['Booted', moment(node.bootedAt)],
    ['Verified', moment(node.verifiedAt)],
    ['Counts until', moment(node.expiresAt)],
    ['Group', node.group ?? '-'],
    ['Mode', node.mode ?? '-'],
    ['Policy', node.policy ?? '-'],
    ['Requires', node.require.join(', ') || '-'],
    ['Bound by', node.bound ?? '-'],
    ['TPM', node.tpm ?? '-'],
    ['TPM class', node.tpmClass],
    ['Kernel', node.kernel === null ? '-' : `${node.kernel} (the node says so)`],
    ...(own.length > 0 ? ([['Self-reported', own.join(', ')]] as const) : []),
    ...Object.entries(node.aspects).map(
      ([aspect, { status, source }]) => [`Aspect ${aspect}`, `${status} (${source})`] as const,
    ),
    ...node.reasons.flatMap(finding),
    ...(first === undefined ? [] : ([['Next', first.next ?? adviceOn(first.code, node.name)]] as const)),
  ];
  const width = Math.max(...lines.map(([label]) => label.length)) + 2;
  return lines.map(([label, text]) => `${`${label}:`.padEnd(width)}${printable(text)}\n`).join('');
}

/** What is not known of a finding has no line. */
function finding({
  code,
  severity,
  source,
  text,
  expected,
  actual,
  evidence,
}: ReasonView): readonly (readonly [string, string])[] {
  const details: readonly (readonly [string, string | null])[] = [
    ['  expected', expected],
    ['  actual', actual],
    ['  evidence', evidence && `${evidence.digest} at ${evidence.position}`],
  ];
  return [
    ['Finding', `${code} (${severity}, ${source}): ${text}`],
    ...details.flatMap(([label, value]) => (value === null ? [] : [[label, value] as const])),
  ];
}
