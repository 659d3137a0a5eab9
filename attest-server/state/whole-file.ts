import { open, readFile, rename, rm } from 'node:fs/promises';

/** Returns once the content of the file, or the names in the folder, are on the disk. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Of what is no secret: for all to read, for nobody else to write. */
export const readableByAll = 0o644;

/** Whole or not at all, readable by all. */
export async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  await rm(temporary, { force: true });
  const file = await open(temporary, 'wx', readableByAll);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

/** Null if there is no such file. */
export async function readOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** The content of a file in its own form. @throws Error that names the file and what to do if that fails */
export function parsed<T>(path: string, remedy: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new Error(`${path} cannot be used: ${remedy}`, { cause });
  }
}
