import type { z } from 'zod';
import { listOf } from '../api/list.ts';
import type { SimulatedMarksView } from '../api/policy-api.ts';
import { volumeView } from '../api/volume-api.ts';
import { turnsUntrusted } from '../formats/trust-loss.ts';
import { printable } from '../wire/printable.ts';
import type { NodeState } from '../wire/verdict.ts';
import { type Client, Refusal } from './client.ts';
import { counted, listed } from './sentence.ts';
import { table } from './table.ts';

/** A simulated node, wherever it was judged. */
export interface ShownSimulation {
  readonly node: string;
  readonly before: { readonly state: NodeState; readonly nextBoot?: string | undefined } | null;
  readonly after: {
    readonly state: NodeState;
    readonly nextBoot?: string | undefined;
    readonly reasons: readonly { readonly code: string; readonly text: string }[];
  } | null;
  readonly changed: boolean;
  /** Null, or left out, where it has no Node in a cluster. */
  readonly marks?: { readonly before: SimulatedMarksView | null; readonly after: SimulatedMarksView } | null;
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
export function simulationText(items: readonly ShownSimulation[], all: boolean): string {
  const changed = items.filter((item) => item.changed).length;
  const untrusted = items.filter(turnsUntrusted).length;
  const unjudged = items.filter(({ after }) => after === null).length;
  const marked = items.filter((item) => !item.changed && changesMarks(item)).length;
  const sums = [
    `${changed} of ${items.length} nodes would change`,
    ...(marked > 0 ? [`of ${marked} more the marks alone`] : []),
    ...(untrusted > 0 ? [`${untrusted} would turn untrusted`] : []),
    ...(unjudged > 0 ? [`${unjudged} cannot be judged (--all says why)`] : []),
  ];
  const rows = changesText(all ? items : items.filter((item) => item.changed || changesMarks(item)));
  return `${rows}${sums.join('; ')}\n`;
}

/** A table of nodes, and why each of them would change; empty if there is none. */
export function changesText(shown: readonly ShownSimulation[]): string {
  const isMarked = shown.some(({ marks }) => marks != null);
  const rows = shown.map(({ node, before, after, marks, note }) => [
    node,
    before?.state ?? '-',
    after?.state ?? '-',
    ...(isMarked ? [marks == null ? '-' : marksText(marks)] : []),
    note ?? (after?.reasons.map(({ code }) => code).join(', ') || '-'),
  ]);
  const heading = ['NODE', 'NOW', 'THEN', ...(isMarked ? ['MARKS'] : []), 'REASONS'];
  const why = shown.flatMap(({ node, changed, after }) =>
    changed && after !== null && after.state !== 'trusted' && after.reasons[0] !== undefined
      ? [`${printable(node)}: ${after.reasons[0].code}: ${printable(after.reasons[0].text)}\n`]
      : [],
  );
  return rows.length === 0 ? '' : `${table(heading, rows)}\n${why.join('')}`;
}

/**
 * Whom something would lock out at the next boot, by what the nodes say lies on their disks; empty if it is nobody.
 * @param leased nodes with a disk whose key the server keeps
 */
export function nextBootText(items: readonly ShownSimulation[], leased: ReadonlySet<string>): string {
  const locked = items.flatMap(({ node, before, after }) =>
    after?.nextBoot === 'would_not' && before?.nextBoot !== 'would_not' ? [node] : [],
  );
  const line = (names: readonly string[], what: string) =>
    names.length === 0
      ? ''
      : `${counted(names.length, 'node')} would ${what} ${names.length === 1 ? 'its' : 'their'} next boot: ${listed(names)}\n`;
  return [
    line(
      locked.filter((name) => leased.has(name)),
      'get no key at',
    ),
    line(
      locked.filter((name) => !leased.has(name)),
      'not be trusted after',
    ),
  ].join('');
}

/** Names of nodes with a disk whose key the server keeps; none if it is of an earlier version. */
export async function leasedNodes(client: Client): Promise<ReadonlySet<string>> {
  try {
    const { items } = await client.get('/v1/volumes', listOf(volumeView));
    return new Set(items.filter(({ enrolled }) => enrolled).map(({ node }) => node));
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return new Set();
    throw error;
  }
}

/** A policy that changes the mode alone changes no verdict, and yet what a Node carries. */
function changesMarks({ marks }: ShownSimulation): boolean {
  return marks != null && marksText(marks) !== unchanged;
}

const unchanged = 'the same';

/** `+assay.dev/untrusted=kernel_unknown, -label`: what would come and go. */
function marksText({
  before,
  after,
}: {
  readonly before: SimulatedMarksView | null;
  readonly after: SimulatedMarksView;
}): string {
  const [was, will] = [before, after].map((marks) => [
    ...(marks?.label === true ? ['label'] : []),
    ...(marks?.taints ?? []),
  ]);
  const comes = will?.filter((mark) => was?.includes(mark) !== true).map((mark) => `+${mark}`) ?? [];
  const goes = was?.filter((mark) => will?.includes(mark) !== true).map((mark) => `-${mark}`) ?? [];
  return [...comes, ...goes].join(', ') || unchanged;
}
