import { randomUUID } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes sure that a file of ours is where only we can read it: a folder of mode 0700 and a file of mode 0600,
 * each made exclusively, or found as a real one of this user.
 * @throws Error naming what is wrong with the file or its folder
 */
export function preparePrivateFile(path: string): void {
  const folder = dirname(path);
  preparePrivateFolder(folder);
  // O_NOFOLLOW comes with O_EXCL: a link that waits under this name is refused, not followed.
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR;
  if (!isNew(() => closeSync(openSync(path, flags, 0o600)))) checkPrivate(path, lstatSync(path), 'file');
  syncFolder(folder);
}

/**
 * Makes a folder of mode 0700, or makes sure that the one found is ours alone.
 * @throws Error naming what is wrong with it
 */
export function preparePrivateFolder(folder: string): void {
  mkdirSync(dirname(folder), { recursive: true });
  if (!isNew(() => mkdirSync(folder, 0o700))) checkPrivate(folder, lstatSync(folder), 'folder');
}

/** Makes sure that a file, where there is one, is ours alone. @throws Error naming what is wrong with it */
export function checkPrivateFile(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found !== undefined) checkPrivate(path, found, 'file');
}

/** The same of a folder. */
export function checkPrivateFolder(folder: string): void {
  const found = lstatSync(folder, { throwIfNoEntry: false });
  if (found !== undefined) checkPrivate(folder, found, 'folder');
}

/** Whole or not at all, mode 0600, on disk when it returns. `new` throws where the file exists. */
export function writePrivate(path: string, text: string, how: 'new' | 'replace'): void {
  const temporary = `${path}.${randomUUID()}`;
  try {
    const file = openSync(temporary, 'wx', 0o600);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    // A link does not replace what is there; a rename would.
    if (how === 'new') linkSync(temporary, path);
    else renameSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
  syncFolder(dirname(path));
}

/** At most this much: none of our private texts is longer. */
const longestText = 1024 * 1024;

/** @throws Error if it is no file of this user alone, or too long; of Node.js's own where it cannot be opened */
export function readPrivate(path: string): string {
  return readText(path, constants.O_NOFOLLOW, (found) => checkPrivate(path, found, 'file'));
}

/**
 * A secret that somebody else put there: a file of this user alone, or of root with no more than its group reading it. A link
 * may lead to it. So the kubelet mounts a Secret, and systemd a credential, whose access list shows as rights of its group.
 * @throws as `readPrivate` does
 */
export function readSuppliedSecret(path: string): string {
  return readText(path, 0, (found) => {
    if (!found.isFile() || !isRootsForOurGroup(found, process.geteuid?.())) checkPrivate(path, found, 'file');
  });
}

/** Whether root gives a file to a group to read, for a user who is not root. */
export function isRootsForOurGroup(
  { uid, mode }: Pick<Stats, 'uid' | 'mode'>,
  user: number | undefined,
): boolean {
  return uid === 0 && user !== 0 && (mode & 0o037) === 0;
}

function readText(path: string, flags: number, check: (found: Stats) => void): string {
  // O_NONBLOCK: a pipe that waits under this name must not hold us.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
  try {
    const found = fstatSync(file);
    check(found);
    if (found.size > longestText) throw new Error(`${path} is too long: ${found.size} bytes`);
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

function isNew(make: () => void): boolean {
  try {
    make();
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

function checkPrivate(path: string, found: Stats, kind: 'folder' | 'file'): void {
  if (found.isSymbolicLink()) throw new Error(`${path} is a symbolic link: name the ${kind} itself`);
  if (!(kind === 'folder' ? found.isDirectory() : found.isFile()))
    throw new Error(`${path} is not a ${kind}`);
  if (found.uid !== process.geteuid?.())
    throw new Error(`${path} belongs to user ${found.uid}: it must belong to the user who runs the server`);
  if ((found.mode & 0o077) !== 0)
    throw new Error(
      `${path} is open to others (mode ${(found.mode & 0o777).toString(8)}): chmod go= ${path}`,
    );
}

/** The file's name must survive a power loss as well as its content. */
function syncFolder(folder: string): void {
  const handle = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
