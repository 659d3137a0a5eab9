import { lstat, readlink } from 'node:fs/promises';

/** The most links that Linux follows. */
const mostLinks = 40;

/** The end of a path, and every path that was looked at on the way, as the host names them. */
export interface ResolvedPath {
  /** Null if there is no such file or folder. */
  readonly real: string | null;
  readonly looked: readonly string[];
}

/**
 * As `resolveBelow`, one path after the other: on a file system that hangs each would hold one of the four threads that
 * read files, and with them the whole agent.
 */
export async function resolveAllBelow(
  root: string,
  paths: readonly string[],
): Promise<readonly ResolvedPath[]> {
  const all: ResolvedPath[] = [];
  for (const path of paths) all.push(await resolveBelow(root, path));
  return all;
}

/**
 * Resolves an absolute path for the host whose root is the folder `root`: links are followed below it, `..` never leads out,
 * and an absolute link begins at it again.
 * @throws Error if a folder may not be searched, a link's text is no UTF-8, or there are too many links
 */
async function resolveBelow(root: string, path: string): Promise<ResolvedPath> {
  const prefix = root === '/' ? '' : root;
  const left = path.split('/').reverse();
  const done: string[] = [];
  const looked: string[] = [];
  let links = 0;
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    if (next === '' || next === '.') continue;
    if (next === '..') {
      done.pop();
      continue;
    }
    const own = `/${[...done, next].join('/')}`;
    looked.push(own);
    const found = await lstat(prefix + own).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
        return null;
      throw error;
    });
    if (found === null) return { real: null, looked };
    if (!found.isSymbolicLink()) {
      done.push(next);
      continue;
    }
    if (++links > mostLinks) throw new Error(`${path} has more than ${mostLinks} links`);
    const target = await readlink(prefix + own);
    // Attack: a name that is no UTF-8 would be taken for one that does not exist.
    if (target.includes('\ufffd')) throw new Error(`${path} leads to a name that is no UTF-8`);
    if (target.startsWith('/')) done.length = 0;
    left.push(...target.split('/').reverse());
  }
  return { real: `/${done.join('/')}`, looked };
}
