import type { LogNote } from '../../../verify/tpm/log-notes.ts';

/** One line for each kind of note: those that say the same of several events are told once. */
export function noteLines(notes: readonly LogNote[]): readonly string[] {
  const byText = new Map<string, LogNote[]>();
  for (const note of notes) {
    const key = `${note.code} ${note.text}`;
    byText.set(key, [...(byText.get(key) ?? []), note]);
  }
  return [...byText.values()].map((same) => {
    const events = same.flatMap(({ event }) => event ?? []);
    const [{ code, text }] = same as [LogNote];
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
