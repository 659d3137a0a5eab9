import { constants } from 'node:fs';
import { mkdir, open, rename, writeFile } from 'node:fs/promises';
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

/** The file that says that a key is to be replaced once its volume is open. */
export function rotationMark(folder: string, volume: string): string {
  return join(folder, `${volume}.rotate`);
}

const ending = '.opened.json';
const longest = 4096;

/** Whole or not at all, mode 0600. */
export async function writeNote(folder: string, note: UnlockNote): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${note.volume}${ending}`);
  await writeFile(`${path}.new`, JSON.stringify(note), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/**
 * Null if this volume got no key in this boot.
 * @throws Error, naming the path, for what is no note of it: the folder is another user's than root's
 */
export async function readNote(folder: string, volume: string): Promise<UnlockNote | null> {
  const path = join(folder, `${volume}${ending}`);
  try {
    // Attack: a link, or a pipe that nobody writes to, waits under its name.
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const found = await file.stat();
    if (!found.isFile() || found.size > longest) throw new Error('no file of its kind');
    const note = noteSchema.parse(JSON.parse(await file.readFile('utf8')));
    if (note.volume !== volume) throw new Error('of another volume');
    return note;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw new Error(`${path} is not what assay-agent unlock writes`, { cause });
  }
}
