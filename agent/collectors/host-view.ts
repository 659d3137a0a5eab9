import { realpath, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import {
  asBytes,
  type FindMount,
  type Mount,
  mountFinder,
  parseMountTable,
} from '../../attest-server/wire/mount-table.ts';
import { Unavailable } from './collector.ts';
import { readBounded } from './read-bounded.ts';

/** A running machine, below a root: in a pod only those of its paths are there that are mounted. */
export interface HostView {
  /**
   * Why what this program sees at a place of the host is not what the host has there, so that what it does not find may
   * be there all the same; null if it is the same.
   * @param place absolute, without links
   */
  hides(place: string): string | null;
}

/** Below the root. */
export const mountTablePath = 'proc/1/mountinfo';
export const mostOfMountTable = 16 * 1024 * 1024;

/**
 * Null below a root that is no running machine, such as a recorded tree: there all is as it is.
 * @param root without links
 * @param known in the host's table of mounts, for who has read it already
 * @throws Error if a table of mounts cannot be read
 */
export async function readHostView(
  root: string,
  signal?: AbortSignal,
  known?: FindMount,
): Promise<HostView | null> {
  if (!(await isRunningMachine(root))) return null;
  const [theirs, own] = await Promise.all([
    known ?? readMounts(root, mountTablePath, signal),
    readMounts('/', 'proc/self/mountinfo', signal),
  ]);
  return viewOf(root, theirs, own);
}

async function readMounts(root: string, path: string, signal?: AbortSignal): Promise<FindMount> {
  const bytes = await readBounded(join(root, path), mostOfMountTable, signal);
  if (bytes === null) throw new Error(`there is no /${path}`);
  return mountFinder(parseMountTable(bytes));
}

/** Files of a kernel, and neither a copy of them nor a link; a pod may have a few of them alone. */
export async function isRunningMachine(root: string): Promise<boolean> {
  for (const path of ['proc', 'proc/sys', mountTablePath]) if (await isOfKernel(root, path)) return true;
  return false;
}

async function isOfKernel(root: string, path: string): Promise<boolean> {
  try {
    const place = join(await realpath(root), path);
    return (await realpath(place)) === place && (await statfs(place)).type === procMagic;
  } catch {
    return false;
  }
}

/** Whether all processes are below the root, as far as the kernel shows them to this user. */
export function showsProcesses(root: string): Promise<boolean> {
  return isOfKernel(root, 'proc');
}

/** Why a file that was not found may still exist; null if the host has none, or nothing is hidden. */
export async function whyHidden(root: string, place: string, signal?: AbortSignal): Promise<string | null> {
  if (root === '/') return null;
  return (await readHostView(root, signal))?.hides(place) ?? null;
}

/** For a part that was not found: null if the machine has none. */
export async function unlessHidden(
  root: string,
  place: string,
  signal?: AbortSignal,
): Promise<Unavailable | null> {
  const why = await whyHidden(root, place, signal);
  return why === null ? null : new Unavailable(why);
}

/** PROC_SUPER_MAGIC of linux/magic.h */
const procMagic = 0x9fa0;

function viewOf(root: string, findTheirs: FindMount, findOwn: FindMount): HostView {
  return {
    hides(place) {
      const [its, ours] = [asBytes(place), asBytes(root === '/' ? place : root + place)];
      const [theirs, mine] = [findTheirs(its), findOwn(ours)];
      // Attack: a server that asks for /proc/self/fd/7 would learn what this program has open.
      if (theirs?.type === 'proc') return `${place} shows each program something else, and stores nothing`;
      if (theirs !== null && mine !== null && placeOn(theirs, its) === placeOn(mine, ours)) return null;
      return `this program sees another ${place} than the host: docs/privileges.md says what its unit hides, or its pod does not mount`;
    },
  };
}

/** Where a path lies on its file system: the same for each mount of it. */
function placeOn({ device, root, mountPoint }: Mount, path: string): string {
  const below = mountPoint === '/' ? path : path.slice(mountPoint.length);
  return `${device} ${root === '/' ? '' : root}${below}`;
}
