// Goes to attest-server/verify/listed-notes.ts, which is as deep as this folder: the imports hold in both places.
import { hash } from 'node:crypto';
import type { ListCheck } from '../../attest-server/verify/listed-parts.ts';
import { Rejection } from '../../attest-server/wire/rejection.ts';
import { supplementForms } from '../../attest-server/wire/supplements.ts';

/** Each note under the digest of its own bytes. @throws Rejection `malformed` */
export function checkNotes({ parts, given }: ListCheck): ReadonlyMap<string, string> {
  const bytes = parts.initrds?.bytes ?? null;
  const notes = new Map<string, string>();
  for (const digest of bytes === null ? [] : supplementForms.initrds.listed(bytes)) {
    const note = given.get(digest);
    if (note !== undefined && hash('sha256', note, 'hex') !== digest)
      throw new Rejection('malformed', 'a note of another digest', { field: `files.${digest}` });
    if (note !== undefined) notes.set(digest, note.toString('utf8'));
  }
  return notes;
}
