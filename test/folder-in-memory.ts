import { accessSync, constants, readFileSync, statfsSync } from 'node:fs';

const folder = '/dev/shm';
/** Bytes: several times what all tests have there at once. */
const wanted = 4 * 1024 ** 3;

/**
 * Where the files of tests are in memory: they make and remove tens of thousands, and a disk looks for a place for each.
 * Null where this machine has no such folder, no programs may run from it, or it may get too small.
 */
export function folderInMemory(): string | null {
  // proc_pid_mountinfo(5): the fifth field is the place, the sixth its options; after ` - ` comes the type.
  const mount = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .findLast((line) => line.split(' ')[4] === folder);
  const [own = '', other = ''] = mount?.split(' - ') ?? [];
  if (!other.startsWith('tmpfs ') || /[ ,](?:noexec|ro)(?:[ ,]|$)/.test(own) || !mayWrite()) return null;
  const { bavail, bsize } = statfsSync(folder);
  return Math.min(bavail * bsize, process.availableMemory() / 2) >= wanted ? folder : null;
}

function mayWrite(): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
