import { idText } from './algorithms.ts';
import { noPcr, type RawLog } from './log-format.ts';
import { extendsPcr, type StartupLocality } from './replay.ts';

/** An oddity in a log that parsed: it does not make the log wrong. */
export interface LogNote {
  readonly event: number | null;
  readonly code: string;
  readonly text: string;
}

/** A log of tiny events must not bloat the answer. */
const notesKept = 100;

/** Codes: `padding`, `fewer_digests`, `not_extended`, `unknown_bank`, `undeclared_bank`, `locality_ignored`, `more_notes`. */
export function logNotes(raw: RawLog, startup: StartupLocality): readonly LogNote[] {
  const notes: LogNote[] = [];
  const unknown = raw.algorithmCount - raw.banks.length;
  if (unknown > 0)
    notes.push({
      event: 0,
      code: 'unknown_bank',
      text: `${unknown} digest algorithms of the header are unknown`,
    });
  for (const event of startup.ignored)
    notes.push({ event, code: 'locality_ignored', text: 'a startup locality that does not count here' });
  for (let event = 0; event < raw.count; event++) {
    const digests = raw.digestCounts[event]!;
    const undeclared = raw.undeclared.get(event);
    if (undeclared !== undefined) notes.push(undeclaredNote(event, undeclared, digests));
    if (raw.pcrs[event] === noPcr && event > 0)
      notes.push({ event, code: 'not_extended', text: `PCR ${noPcr} is no PCR` });
    else if (extendsPcr(raw, event) && digests < raw.algorithmCount)
      notes.push({
        event,
        code: 'fewer_digests',
        text: `${digests} digests where the header declares ${raw.algorithmCount}`,
      });
  }
  const kept = fewerNotes(notes);
  if (raw.padding !== null)
    kept.push({
      event: null,
      code: 'padding',
      text: `${raw.padding.bytes} bytes of padding from offset ${raw.padding.offset} on`,
    });
  return kept;
}

function undeclaredNote(event: number, undeclared: readonly number[], declared: number): LogNote {
  const ids = undeclared.map(idText).join(', ');
  const alone = declared === 0 ? ', and no other: it extended no bank of this log' : '';
  const text = `a digest of ${ids}, which the header does not declare${alone}`;
  return { event, code: 'undeclared_bank', text };
}

/** The first ones, and how many more there are. */
export function fewerNotes(notes: readonly LogNote[]): LogNote[] {
  const more = notes.length - notesKept;
  if (more <= 0) return [...notes];
  return [...notes.slice(0, notesKept), { event: null, code: 'more_notes', text: `${more} notes more` }];
}
