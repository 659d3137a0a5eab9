import type { z } from 'zod';
import { turnsUntrusted } from '../protocol/policy-api.ts';
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

/** Asks the server for a simulation, page by page: the first page, with the items of all. */
export async function readSimulation<Page extends { items: unknown[]; next: string | null }>(
  client: Client,
  path: string,
  body: object,
  schema: z.ZodType<Page>,
): Promise<Page> {
  const first = await client.post(path, body, schema);
  const items = [...first.items];
  for (let next = first.next; next !== null; ) {
    const page: Page = await client.post(path, { ...body, after: next }, schema);
    items.push(...page.items);
    next = page.next;
  }
  return { ...first, items };
}

/**
 * Whom something would change, and why.
 * @param all whether the others are listed, too
 */
export function simulationText(items: readonly Simulated[], all: boolean): string {
  const changed = items.filter((item) => item.changed).length;
  const untrusted = items.filter(turnsUntrusted).length;
  const unjudged = items.filter(({ after }) => after === null).length;
  const sums = [
    `${changed} of ${items.length} nodes would change`,
    ...(untrusted > 0 ? [`${untrusted} would turn untrusted`] : []),
    ...(unjudged > 0 ? [`${unjudged} cannot be judged (--all says why)`] : []),
  ];
  const rows = changesText(all ? items : items.filter((item) => item.changed));
  return `${rows}${sums.join('; ')}\n`;
}

/** A table of nodes, and why each of them would change; empty where there is none. */
export function changesText(shown: readonly Simulated[]): string {
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
  return rows.length === 0 ? '' : `${table(['NODE', 'NOW', 'THEN', 'REASONS'], rows)}\n${why.join('')}`;
}
