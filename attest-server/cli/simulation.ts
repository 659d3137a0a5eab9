import { type SimulatedNodeView, simulateAnswer } from '../protocol/policy-api.ts';
import { printable } from '../protocol/printable.ts';
import type { NodeState } from '../protocol/verdict.ts';
import type { Client } from './client.ts';
import { table } from './table.ts';

/** What is shown of a node, wherever it was judged. */
export interface Simulated {
  readonly node: string;
  readonly before: { readonly state: NodeState } | null;
  readonly after: {
    readonly state: NodeState;
    readonly reasons: readonly { readonly code: string; readonly text: string }[];
  } | null;
  readonly changed: boolean;
  readonly note: string | null;
}

/** Asks the server for a simulation, page by page. */
export async function readSimulation(
  client: Client,
  path: string,
  body: object,
): Promise<readonly SimulatedNodeView[]> {
  const items: SimulatedNodeView[] = [];
  let next: string | null = null;
  do {
    const page = next === null ? body : { ...body, after: next };
    const answer: { items: SimulatedNodeView[]; next: string | null } = await client.post(
      path,
      page,
      simulateAnswer,
    );
    items.push(...answer.items);
    next = answer.next;
  } while (next !== null);
  return items;
}

/** True where a node would become untrusted that is not so now. */
export function turnsUntrusted({ before, after }: Simulated): boolean {
  return after?.state === 'untrusted' && before?.state !== 'untrusted';
}

/**
 * Whom something would change, and why.
 * @param all whether the others are listed, too; null where the command cannot list them
 */
export function simulationText(items: readonly Simulated[], all: boolean | null): string {
  const shown = all === true ? items : items.filter(({ changed }) => changed);
  const rows = shown.map(({ node, before, after, note }) => [
    node,
    before?.state ?? '-',
    after?.state ?? '-',
    note ?? (after?.reasons.map(({ code }) => code).join(', ') || '-'),
  ]);
  const why = shown.flatMap(({ node, changed, after }) =>
    changed && after !== null && after.state !== 'trusted' && after.reasons[0] !== undefined
      ? [`${printable(node)}: ${after.reasons[0].code}: ${printable(after.reasons[0].text)}\n`]
      : [],
  );
  const changed = items.filter((item) => item.changed).length;
  const untrusted = items.filter(turnsUntrusted).length;
  const unjudged = items.filter(({ after }) => after === null).length;
  const sums = [
    `${changed} of ${items.length} nodes would change`,
    ...(untrusted > 0 ? [`${untrusted} would turn untrusted`] : []),
    ...(unjudged > 0 ? [`${unjudged} cannot be judged${all === null ? '' : ' (--all says why)'}`] : []),
  ];
  const body = rows.length === 0 ? '' : `${table(['NODE', 'NOW', 'THEN', 'REASONS'], rows)}\n`;
  return `${body}${why.join('')}${sums.join('; ')}\n`;
}
