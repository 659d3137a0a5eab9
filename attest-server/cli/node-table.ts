import type { NodeLine } from '../api/node-api.ts';
import { aspects, type NodeState } from '../wire/verdict.ts';
import { marksCell } from './marks-text.ts';
import { ago, tableTime, utc } from './moment.ts';
import { table } from './table.ts';

export interface TableOptions {
  readonly wide: boolean;
  readonly headers: boolean;
  readonly utc: boolean;
  readonly colour: boolean;
  readonly now: number;
}

const columns = ['NAME', 'STATE', 'REASON', 'SINCE', 'BOOTED', 'VERIFIED', 'AGE'] as const;
const wideColumns = ['GROUP', 'TPM', 'KERNEL', 'POLICY', 'SELF-REPORTED', 'MODE', 'MARKS', 'EXEMPT'] as const;

/**
 * Nodes as a table. SINCE: in this state. BOOTED: when the boot began. VERIFIED: when it was last judged. AGE: since it was
 * enrolled. A state never stands without what it rests on: counted, and by name in the wide table.
 */
export function nodeTable(nodes: readonly NodeLine[], options: TableOptions): string {
  const rows = nodes.map((node) => [...narrow(node, options), ...(options.wide ? wide(node, options) : [])]);
  const text = table(options.wide ? [...columns, ...wideColumns] : columns, rows);
  const shown = options.colour ? coloured(text, nodes) : text;
  return options.headers ? shown : shown.slice(shown.indexOf('\n') + 1);
}

/** `trusted (identity, boot)`: the aspects that the policy requires. `unknown (gone)`: it left the cluster. `trial`: it proves nothing. */
export function stateText({
  state,
  require,
  goneSince,
  trial,
}: Pick<NodeLine, 'state' | 'require' | 'goneSince' | 'trial'>): string {
  if (goneSince !== null) return `${state} (gone)`;
  const about = [...(trial ? ['trial'] : []), ...(state === 'trusted' ? [require.join(', ')] : [])];
  return about.length === 0 ? state : `${state} (${about.join(': ')})`;
}

/** `trusted 1/6`: how many aspects the policy requires that are affirmed, of all that there are. Else as `stateText`. */
function countedState(node: NodeLine): string {
  if (node.state !== 'trusted' || node.goneSince !== null) return stateText(node);
  const affirmed = node.require.filter((aspect) => node.aspects[aspect]?.status === 'affirming');
  return `trusted ${affirmed.length}/${aspects.length}${node.trial ? ' (trial)' : ''}`;
}

/** Affirmed aspects that only the node itself vouches for. */
export function selfReported(node: NodeLine): readonly string[] {
  return Object.entries(node.aspects)
    .filter(([, { source, status }]) => source === 'host' && status !== 'none')
    .map(([aspect]) => aspect);
}

function narrow(node: NodeLine, { wide: named, utc: absolute, now }: TableOptions): string[] {
  const time = (moment: string | null) => tableTime(moment, now, absolute);
  return [
    node.name,
    named ? stateText(node) : countedState(node),
    node.reason ?? '-',
    time(node.since),
    bootedText(node, now, absolute),
    time(node.verifiedAt),
    time(node.enrolledAt),
  ];
}

/** Where only its first proof is known: longer ago than that. */
function bootedText({ bootedAt, bootSeenAt }: NodeLine, now: number, absolute: boolean): string {
  if (bootedAt !== null || bootSeenAt === null) return tableTime(bootedAt, now, absolute);
  return absolute ? `before ${utc(bootSeenAt)}` : `>${ago(bootSeenAt, now)}`;
}

function wide(node: NodeLine, options: TableOptions): string[] {
  const own = selfReported(node).join(', ');
  const { group, kernel, policy, mode } = node;
  return [group, tpmText(node), kernel, policy, own, mode, marksCell(node), exemptText(node, options)].map(
    (cell) => cell || '-',
  );
}

/** For how long yet. */
function exemptText({ exemption }: NodeLine, { utc: absolute, now }: TableOptions): string {
  if (exemption === null) return '';
  return absolute
    ? utc(exemption.until)
    : `for ${ago(new Date(now).toISOString(), Date.parse(exemption.until))}`;
}

/** `IFX firmware 0007005500000200 (discrete)`: as far as it is known. */
function tpmText({ tpm, tpmClass }: NodeLine): string {
  return [...(tpm === null ? [] : [tpm]), ...(tpmClass === 'unknown' ? [] : [`(${tpmClass})`])].join(' ');
}

const colours: Readonly<Record<NodeState, number>> = {
  trusted: 32,
  untrusted: 31,
  pending: 33,
  unknown: 33,
  unsupported: 90,
};

/** Colours each line's state, below the heading; the text stays, so colour is never alone. */
function coloured(text: string, nodes: readonly NodeLine[]): string {
  const lines = text.split('\n');
  return lines
    .map((line, index) => {
      const node = nodes[index - 1];
      if (node === undefined) return line;
      const at = line.indexOf(`  ${node.state}`, node.name.length) + 2;
      if (at < 2) return line;
      const end = at + node.state.length;
      return `${line.slice(0, at)}\u001b[${colours[node.state]}m${line.slice(at, end)}\u001b[0m${line.slice(end)}`;
    })
    .join('\n');
}
