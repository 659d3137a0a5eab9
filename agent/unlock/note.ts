import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { AgentError } from '../agent-error.ts';

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

/** Whole or not at all, mode 0600. */
export async function writeNote(folder: string, note: UnlockNote): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${note.volume}${ending}`);
  await writeFile(`${path}.new`, JSON.stringify(note), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** One for each volume that got a key in this boot. @throws AgentError `malformed` for one that is none: it is not passed over */
export async function readNotes(folder: string): Promise<readonly UnlockNote[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return Promise.all(
    names
      .filter((name) => name.endsWith(ending))
      .map(async (name) => {
        const path = join(folder, name);
        try {
          return noteSchema.parse(JSON.parse(await readFile(path, 'utf8')));
        } catch (cause) {
          throw new AgentError('malformed', `${path} is not what assay-agent unlock writes`, { cause });
        }
      }),
  );
}
