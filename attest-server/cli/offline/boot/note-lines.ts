import type { LogNote } from '../../../verify/tpm/log-notes.ts';

/** One line for each kind of note: those that say the same of several events are reported once. */
export function noteLines(notes: readonly LogNote[]): readonly string[] {
  const kinds = new Map<
    string,
    { readonly code: string; readonly text: string; readonly events: number[] }
  >();
  for (const { code, text, event } of notes) {
    const key = `${code} ${text}`;
    const kind = kinds.get(key) ?? { code, text, events: [] };
    kinds.set(key, kind);
    if (event !== null) kind.events.push(event);
  }
  return [...kinds.values()].map(({ code, text, events }) => {
    const where = events.length === 0 ? '' : ` (event${events.length === 1 ? '' : 's'} ${ranges(events)})`;
    return `note ${code}${where}: ${text}`;
  });
}

/** `3, 7 to 9` */
function ranges(events: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const event of events) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === event - 1) last[1] = event;
    else runs.push([event, event]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from} to ${to}`)).join(', ');
}
