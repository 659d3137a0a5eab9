import type { NodeView, ReasonView } from '../../api/node-api.ts';
import type { CliContext } from '../context.ts';
import { marksLines } from '../marks-text.ts';
import { selfReported, stateText } from '../node-table.ts';
import { field, readable, steps, type TextFormat } from '../readable.ts';
import { type ShowOptions, showNodes } from '../show-nodes.ts';
import type { LabelledLine } from '../table.ts';
import { advisedCauses, evidenceText } from './why.ts';

/** `describe node N...`: everything about nodes; exits by the worst state. */
export function describeNodes(
  context: CliContext,
  names: readonly string[],
  options: ShowOptions,
): Promise<void> {
  return showNodes(context, names, options, page, '\n');
}

/** Everything about a node, for a person: its state and, line by line, what is known of it. */
function page(node: NodeView, textFormat: TextFormat): string {
  const lines = [
    ...stateOf(node),
    ...machineOf(node),
    ...judgedBy(node),
    ...Object.entries(node.aspects).map(
      ([aspect, { status, source }]): LabelledLine => [`Aspect ${aspect}`, `${status} (${source})`],
    ),
    ...node.references.map(
      ({ name, by, since }): LabelledLine => ['Boots like', `reference ${name} (${by}, ${since})`],
    ),
    ...node.claims.map(claimLine),
  ];
  const width = Math.max(...lines.map(([label]) => label.length)) + 2;
  const shown = ([label, text]: LabelledLine) =>
    field(label && `${label}:`, readable(text, textFormat), width, textFormat);
  const findings = advisedCauses(node.reasons, node.name).flatMap(({ cause, follows, next }) => [
    ...[cause, ...follows].flatMap(finding).map(shown),
    next === null ? '' : steps('  next:', next, width, textFormat),
  ]);
  return [...lines.map(shown), ...findings, ...changesOf(node).map(shown)].join('');
}

function changesOf({ transitions }: NodeView): readonly LabelledLine[] {
  return transitions.map(({ at, state, reason }, index): LabelledLine => {
    const why = reason === null ? '' : `: ${reason}`;
    return [index === 0 ? 'Changes' : '', `${at} ${state}${why}`];
  });
}

function stateOf(node: NodeView): readonly LabelledLine[] {
  const { bootedAt, bootSeenAt, connectedAt, agent } = node;
  const before = bootSeenAt === null ? '-' : `before ${bootSeenAt}`;
  return [
    ['Name', node.name],
    ['State', stateText(node)],
    ['Since', node.since ?? '-'],
    ['Reason', node.reason ?? '-'],
    ['Booted', bootedAt === null ? before : `${bootedAt} (the node says so; its TPM does not contradict it)`],
    ['Verified', node.verifiedAt ?? '-'],
    ['Counts until', node.expiresAt ?? '-'],
    ...marksLines(node),
    ...exemptionOf(node),
    ...absenceOf(node),
    ['Connected', connectedAt === null ? '-' : `since ${connectedAt}`],
    ['Address', node.address ?? '-'],
    ['Agent', agent === null ? '-' : `${agent} (the node says so)`],
  ];
}

function exemptionOf({ exemption }: NodeView): readonly LabelledLine[] {
  if (exemption === null) return [];
  const { until, by, reason } = exemption;
  return [['Exempt', `until ${until}, by ${by}: ${reason}`]];
}

function absenceOf({ missingSince, goneSince }: NodeView): readonly LabelledLine[] {
  if (missingSince === null) return [];
  const silent = `since ${missingSince}: its cluster has no Node of it, and it is silent`;
  return [['Missing', silent], ...(goneSince === null ? [] : [['Gone', `since ${goneSince}`] as const])];
}

function machineOf(node: NodeView): readonly LabelledLine[] {
  const { enrolledAt, enrolledBy, kernel } = node;
  return [
    ['Enrolled', enrolledAt ?? '-'],
    ['Bound by', [node.bound ?? '-', ...(enrolledBy === null ? [] : [`(${enrolledBy})`])].join(' ')],
    ['EK', node.ek ?? '-'],
    ['TPM', node.tpm ?? '-'],
    ['TPM class', node.tpmClass],
    ['Kernel', kernel === null ? '-' : `${kernel} (the node says so)`],
  ];
}

function judgedBy(node: NodeView): readonly LabelledLine[] {
  const own = selfReported(node);
  return [
    ['Group', node.group ?? '-'],
    ['Mode', node.mode ?? '-'],
    ['Policy', node.policy ?? '-'],
    ['Requires', node.require.join(', ') || '-'],
    ['Evidence', node.evidence ?? '-'],
    ...(own.length > 0 ? ([['Self-reported', own.join(', ')]] as const) : []),
  ];
}

function claimLine({
  ek,
  code,
  attempts,
  firstSeen,
  lastSeen,
  address,
}: NodeView['claims'][number]): LabelledLine {
  const who = ek === null ? 'somebody' : `the TPM ${ek}`;
  const times = attempts === 1 ? 'once' : `${attempts} times since ${firstSeen}`;
  return ['Claimed by', `${who}: refused ${times}, last ${lastSeen}, from ${address}: ${code}`];
}

/** A finding; members that are not known have no line. */
function finding({
  code,
  severity,
  source,
  text,
  expected,
  actual,
  evidence,
}: ReasonView): readonly LabelledLine[] {
  const details: readonly (readonly [string, string | null])[] = [
    ['  expected', expected],
    ['  actual', actual],
    ['  evidence', evidence && evidenceText(evidence)],
  ];
  return [
    ['Finding', `${code} (${severity}, ${source}): ${text}`],
    ...details.flatMap(([label, value]): readonly LabelledLine[] => (value === null ? [] : [[label, value]])),
  ];
}
