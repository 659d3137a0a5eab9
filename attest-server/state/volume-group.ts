import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  type Stats,
} from 'node:fs';
import { dirname, join } from 'node:path';

/** Files that a kubelet had opened to the group of its volume. */
export interface OpenedToGroup {
  readonly group: number;
  /** Paths that were private before and are so again. Whoever is in that group could read and change them. */
  readonly paths: readonly string[];
}

/** Far more than a state folder has. */
const most = 10_000;
const deepest = 8;

/**
 * A kubelet gives all of a volume with `fsGroup` to that group, at each mount where `fsGroupChangePolicy` is not
 * `OnRootMismatch`: private files then are 0660, folders 2770. Closes them again, where they are this user's and the
 * group is one of this process. Everywhere else nothing is changed, and what is open stays for others to refuse.
 * @param folder that is to be private, in such a volume or anywhere
 * @returns null if nothing was open
 * @throws Error if another user owns something in it: who may write there may have put it there
 */
export function closeToVolumeGroup(folder: string): OpenedToGroup | null {
  const group = groupOfVolume(dirname(folder));
  const found = lstatSync(folder, { throwIfNoEntry: false });
  if (group === null || found === undefined || !found.isDirectory() || !isOurs(found)) return null;
  const paths: string[] = [];
  // The folder first: then nobody else comes in any more.
  close(folder, group, paths);
  for (const path of allIn(folder, group)) close(path, group, paths);
  return paths.length === 0 ? null : { group, paths };
}

/** Files and folders in it. @throws Error if one belongs to another user, or they are too many */
function allIn(folder: string, group: number): readonly string[] {
  const all: string[] = [];
  const left = [{ path: folder, depth: 0 }];
  for (let at = left.pop(); at !== undefined; at = left.pop())
    for (const name of readdirSync(at.path)) {
      const path = join(at.path, name);
      if (all.length >= most || at.depth > deepest)
        throw new Error(`${folder} holds more than a state folder does`);
      const entry = lstatSync(path);
      if (!isOurs(entry))
        throw new Error(
          `${path} belongs to user ${entry.uid}: the group ${group} of the volume could write there. Find out who made it; if you did, give it to the user of this program (chown)`,
        );
      if (entry.isDirectory()) left.push({ path, depth: at.depth + 1 });
      if (entry.isDirectory() || entry.isFile()) all.push(path);
    }
  return all;
}

/** Null if the folder is not the root of a volume as a kubelet makes it: root's or another's, setgid, of a group of ours. */
function groupOfVolume(folder: string): number | null {
  const found = lstatSync(folder, { throwIfNoEntry: false });
  if (found === undefined || !found.isDirectory()) return null;
  const isOfGroup = (found.mode & 0o2070) === 0o2070 && groups().includes(found.gid);
  return isOfGroup ? found.gid : null;
}

function groups(): readonly number[] {
  return [...(process.getgroups?.() ?? []), process.getegid?.() ?? -1];
}

function isOurs({ uid }: Stats): boolean {
  return uid === process.geteuid?.();
}

/** Closes a file to the group. One that everybody can read stays so: it never was private. */
function close(path: string, group: number, closed: string[]): void {
  const handle = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = fstatSync(handle);
    const isPrivate = (found.mode & 0o007) === 0;
    const open = found.mode & (isPrivate ? 0o070 : 0o020);
    if (open === 0 || found.gid !== group || !isOurs(found)) return;
    fchmodSync(handle, found.mode & 0o7777 & ~open);
    if (isPrivate) closed.push(path);
  } finally {
    closeSync(handle);
  }
}
