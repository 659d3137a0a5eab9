import { lstat, readlink } from 'node:fs/promises';

/** What Linux follows at most. */
const mostLinks = 40;

/**
 * As `resolveBelow`, one path after the other: on a file system that hangs each would hold one of the four threads that
 * read files, and with them the whole agent.
 */
export async function resolveAllBelow(root: string, paths: readonly string[]): Promise<(string | null)[]> {
  const reals: (string | null)[] = [];
  for (const path of paths) reals.push(await resolveBelow(root, path));
  return reals;
}

/**
 * What an absolute path leads to for the host whose root is the folder `root`: links are followed below it, `..` never
 * leads out, and an absolute link begins at it again.
 * @returns as the host names it; null where there is no such file or folder
 * @throws Error where a folder may not be searched, or there are too many links
 */
async function resolveBelow(root: string, path: string): Promise<string | null> {
  const left = path.split('/').reverse();
  const done: string[] = [];
  let links = 0;
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    if (next === '' || next === '.') continue;
    if (next === '..') {
      done.pop();
      continue;
    }
    const place = `${root}/${[...done, next].join('/')}`;
    const found = await lstat(place).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
        return null;
      throw error;
    });
    if (found === null) return null;
    if (!found.isSymbolicLink()) {
      done.push(next);
      continue;
    }
    if (++links > mostLinks) throw new Error(`${path} has more than ${mostLinks} links`);
    const target = await readlink(place);
    if (target.startsWith('/')) done.length = 0;
    left.push(...target.split('/').reverse());
  }
  return `/${done.join('/')}`;
}
