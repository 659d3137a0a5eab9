import type { HistoryView } from '../../api/api.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { tableTime } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { readHistory } from '../read-history.ts';
import { table } from '../table.ts';

export interface HistoryOptions {
  readonly output: Format;
  readonly limit: string;
  readonly transitions?: boolean;
  readonly before?: string;
  readonly utc?: boolean;
}

/** `history N`: verdicts, newest first. */
export async function showHistory(
  { io, server }: CliContext,
  node: string,
  { output: format, limit: most, transitions = false, before, utc: absolute = false }: HistoryOptions,
): Promise<void> {
  const limit = Number(most);
  if (!Number.isInteger(limit) || limit < 1 || limit > 500)
    throw new CliError(`--limit ${most} is not a number from 1 to 500`, null, exit.usage);
  if (before !== undefined && !/^\d{1,15}$/.test(before))
    throw new CliError(
      `--before ${before} is no place in a history`,
      `Take it from next of the page before:\n  assay history ${node} -o json`,
      exit.usage,
    );
  const { items, next } = await readHistory(await server(), node, {
    limit,
    transitions,
    before: before ?? null,
  });
  await print(io, format, { items, next }, () =>
    table(
      ['AT', 'STATE', 'REASON', 'POLICY', 'CHANGED', 'REPEATS', ...(format === 'wide' ? ['EVIDENCE'] : [])],
      items.map((entry) => [
        ...row(entry, absolute, io.now()),
        ...(format === 'wide' ? [entry.evidence ?? '-'] : []),
      ]),
    ),
  );
}

function row(
  { at, state, reason, policy, trial, transition, repeats, flaps }: HistoryView,
  absolute: boolean,
  now: number,
): string[] {
  const changed =
    flaps === null ? (transition ? 'yes' : '-') : `${flaps.changes} times (${flaps.states.join(', ')})`;
  const found = flaps === null || flaps.codes.length === 0 ? (reason ?? '-') : flaps.codes.join(', ');
  const shown = trial ? `${state} (trial)` : state;
  return [tableTime(at, now, absolute), shown, found, policy, changed, String(repeats)];
}
