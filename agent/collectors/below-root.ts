import { readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** As many as Linux follows. */
const mostLinks = 40;

/**
 * Where a path of the node leads that is seen below `sysroot`: its symbolic links are followed as the node follows them,
 * so that an absolute one stays below the root. What is not there is where it would be.
 * @param path from the root, without a leading slash
 * @throws Error if the links lead round in a circle; what the file system throws
 */
export async function resolveBelow(sysroot: string, path: string): Promise<string> {
  if (sysroot === '/') return join('/', path);
  const left = path.split('/');
  const done: string[] = [];
  let links = 0;
  for (let name = left.shift(); name !== undefined; name = left.shift()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      done.pop();
      continue;
    }
    const target = await readlink(join(sysroot, ...done, name)).catch(notALink);
    if (target === null) {
      done.push(name);
      continue;
    }
    if (++links > mostLinks) throw new Error(`${path} has more than ${mostLinks} symbolic links`);
    if (target.startsWith('/')) done.length = 0;
    left.unshift(...target.split('/'));
  }
  return join(sysroot, ...done);
}

/** Null for what is there and is no link, and for what is not there. */
function notALink(error: unknown): null {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  if (code === 'EINVAL' || code === 'ENOENT' || code === 'ENOTDIR') return null;
  throw error;
}
