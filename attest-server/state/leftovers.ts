import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** As `writePrivate` calls a file that is not whole yet. */
const uuid = /\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Folders in which files are written under another name first, and what such names look like. */
const unfinished: readonly (readonly [folder: string, ...forms: readonly RegExp[]])[] = [
  ['.', uuid],
  ['tls', uuid, /\.crt\.new$/],
  ['backups', /\.db\.part(-journal|-wal|-shm)?$/],
];

/** Removes what a server that was killed had begun to write: nobody else would, and a copy is as large as the store. */
export function removeLeftovers(stateDir: string): void {
  for (const [folder, ...forms] of unfinished)
    for (const name of namesIn(join(stateDir, folder)))
      if (forms.some((form) => form.test(name))) rmSync(join(stateDir, folder, name), { force: true });
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => name);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
