import { copyFile, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

let shared: string | undefined;

/** Has this process share with others what takes long to make. @param folder of one run of tests; none: each makes its own */
export function shareMade(folder: string | undefined): void {
  shared = folder;
}

/** Has these files in a folder: those that an earlier process made under this name, else what `make` makes there. */
export async function madeOnce(
  name: string,
  files: readonly string[],
  dir: string,
  make: () => Promise<void>,
): Promise<void> {
  if (shared === undefined) return make();
  const kept = join(shared, name);
  const copy = async (from: string, to: string) => {
    for (const file of files) await copyFile(join(from, file), join(to, file));
  };
  try {
    return await copy(kept, dir);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
  await make();
  // At once: whoever looks for it meanwhile finds all of it or nothing.
  const part = await mkdtemp(`${kept}-`);
  await copy(dir, part);
  try {
    await rename(part, kept);
  } catch {
    // Another process made it meanwhile: all use the same.
    await rm(part, { recursive: true });
    await copy(kept, dir);
  }
}

/** The same from a pool, which is made as it is asked for: so many in a row are not alike. @param pool how many there are */
export function madeInTurn(
  name: string,
  pool: number,
  files: readonly string[],
  dir: string,
  make: () => Promise<void>,
): Promise<void> {
  const count = turns.get(name) ?? 0;
  turns.set(name, count + 1);
  return madeOnce(`${name}-${count % pool}`, files, dir, make);
}

/** How many this process has asked for, by name. */
const turns = new Map<string, number>();
