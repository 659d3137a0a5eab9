import { noPcr, type RawLog } from './log-format.ts';
import { extendsPcr, type StartupLocality } from './replay.ts';

/** Something odd in a log that parsed: it does not make the log wrong. */
export interface LogNote {
  readonly event: number | null;
  readonly code: string;
  readonly text: string;
}

/** A log of tiny events must not bloat the answer. */
const notesKept = 100;

/** Codes: `padding`, `fewer_digests`, `not_extended`, `unknown_bank`, `locality_ignored`, `more_notes`. */
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
    if (raw.pcrs[event] === noPcr && event > 0)
      notes.push({ event, code: 'not_extended', text: `PCR ${noPcr} is no PCR` });
    else if (extendsPcr(raw, event) && digests < raw.algorithmCount)
      notes.push({
        event,
        code: 'fewer_digests',
        text: `${digests} digests where the header declares ${raw.algorithmCount}`,
      });
  }
  const more = notes.length - notesKept;
  if (more > 0)
    notes.splice(notesKept, more, { event: null, code: 'more_notes', text: `${more} notes more` });
  if (raw.padding !== null)
    notes.push({
      event: null,
      code: 'padding',
      text: `${raw.padding.bytes} bytes of padding from offset ${raw.padding.offset} on`,
    });
  return notes;
}
