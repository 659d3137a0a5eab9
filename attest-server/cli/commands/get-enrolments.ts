import type { NodeView } from '../../api/node-api.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { tableTime } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { readNode, readNodes, withGone } from '../read-nodes.ts';
import { shownDigits } from '../readable.ts';
import { table } from '../table.ts';

export interface EnrolmentsOptions {
  readonly output: Format;
  readonly utc?: boolean;
}

const columns = ['NODE', 'EK', 'BOUND', 'BY', 'AGE'] as const;
const wideColumns = ['TPM', 'CLASS', 'ADDRESS', 'AGENT'] as const;

/** `get enrolments [NAME]`: who is enrolled, with which key, by which method, by whom and since when. */
export async function getEnrolments(
  { io, server }: CliContext,
  name: string | undefined,
  { output: format, utc: absolute = false }: EnrolmentsOptions,
): Promise<void> {
  const client = await server();
  const nodes = name === undefined ? await readNodes(client, withGone) : [await readNode(client, name)];
  // A machine without a TPM is not enrolled, nor is one that merely claims a name.
  const enrolled = nodes.filter(({ bound }) => bound !== null);
  await print(io, format, { items: enrolled.map(enrolment), next: null }, () => {
    if (format === 'name') return enrolled.map((node) => `${printable(node.name)}\n`).join('');
    const isWide = format === 'wide';
    return table(
      isWide ? [...columns, ...wideColumns] : columns,
      enrolled.map((node) => row(node, isWide, (moment) => tableTime(moment, io.now(), absolute))),
    );
  });
}

function enrolment(node: NodeView) {
  const { name, ek, bound, enrolledBy, enrolledAt, tpm, tpmClass, address, connectedAt, agent } = node;
  return { name, ek, bound, enrolledBy, enrolledAt, tpm, tpmClass, address, connectedAt, agent };
}

function row(node: NodeView, isWide: boolean, time: (moment: string | null) => string): string[] {
  const { name, ek, bound, enrolledBy, enrolledAt } = node;
  const key = (isWide ? ek : ek?.slice(0, shownDigits)) ?? '-';
  const narrow = [name, key, bound ?? '-', enrolledBy ?? '-', time(enrolledAt)];
  if (!isWide) return narrow;
  return [...narrow, node.tpm ?? '-', node.tpmClass, node.address ?? '-', node.agent ?? '-'];
}
