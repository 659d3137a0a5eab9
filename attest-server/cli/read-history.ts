import { type HistoryView, historyView } from '../api/api.ts';
import { listOf } from '../api/list.ts';
import type { Client } from './client.ts';

export interface HistoryQuestion {
  /** At most so many, 1 to 500. */
  readonly limit: number;
  /** Only where the state changed: these are looked for as far back as the history goes. */
  readonly transitions: boolean;
  /** The `next` of the page before; null: the newest. */
  readonly before: string | null;
}

export interface HistoryPage {
  readonly items: readonly HistoryView[];
  /** Where older ones begin; null if there are none. */
  readonly next: string | null;
}

const pageSize = 500;
const historyList = listOf(historyView);

/** Verdicts of a node, newest first. */
export async function readHistory(
  server: Client,
  node: string,
  question: HistoryQuestion,
): Promise<HistoryPage> {
  const { limit, transitions } = question;
  const found: HistoryView[] = [];
  let next = question.before;
  do {
    const from: string = next === null ? '' : `&before=${encodeURIComponent(next)}`;
    const path = `/v1/nodes/${encodeURIComponent(node)}/history?limit=${transitions ? pageSize : limit}${from}`;
    const page = await server.get(path, historyList);
    found.push(...page.items.filter(({ transition, flaps }) => transition || flaps !== null || !transitions));
    next = page.items.length === 0 ? null : page.next;
  } while (transitions && next !== null && found.length <= limit);
  return found.length > limit ? cut(found, limit) : { items: found, next };
}

/** Cuts a page: entries of one moment stay together, and the next page begins before it. */
function cut(found: readonly HistoryView[], limit: number): HistoryPage {
  const first = found[limit]?.at;
  const whole = found.slice(0, limit).filter(({ at }) => at !== first);
  const items = whole.length > 0 ? whole : found.slice(0, limit);
  return { items, next: String(Date.parse(items.at(-1)?.at ?? '')) };
}
