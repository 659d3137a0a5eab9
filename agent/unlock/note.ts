import { constants } from 'node:fs';
import { mkdir, open, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/** The word of `unlock` for `cap`: which volume it gave a key for, and what its header must be. No secret is in it. */
const noteSchema = z.strictObject({
  leaseId: z.string().regex(/^[0-9a-f]{32}$/),
  volume: z.string().regex(/^[0-9a-f-]{36}$/),
  expectedHeaders: z
    .array(z.string().regex(/^[0-9a-f]{64}$/))
    .min(1)
    .max(2),
});
export type UnlockNote = z.infer<typeof noteSchema>;

const ending = '.opened.json';
const longest = 4096;

/** Whole or not at all, mode 0600. */
export async function writeNote(folder: string, note: UnlockNote): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${note.volume}${ending}`);
  await writeFile(`${path}.new`, JSON.stringify(note), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** One for each volume that got a key in this boot, and the paths of those that are none: the folder is another user's than root's. */
export async function readNotes(
  folder: string,
): Promise<{ readonly notes: readonly UnlockNote[]; readonly damaged: readonly string[] }> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const notes: UnlockNote[] = [];
  const damaged: string[] = [];
  for (const name of names.filter((one) => one.endsWith(ending))) {
    const path = join(folder, name);
    const note = await readNote(path).catch(() => null);
    if (note === null || name !== `${note.volume}${ending}`) damaged.push(path);
    else notes.push(note);
  }
  return { notes, damaged };
}

/** Attack: a link, or a pipe that nobody writes to, waits under its name. @throws whatever it is */
async function readNote(path: string): Promise<UnlockNote> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const found = await file.stat();
  if (!found.isFile() || found.size > longest) throw new Error('no note');
  return noteSchema.parse(JSON.parse(await file.readFile('utf8')));
}
