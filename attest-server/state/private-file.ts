import { closeSync, constants, fsyncSync, lstatSync, mkdirSync, openSync, type Stats } from 'node:fs';
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
  if (!made(() => closeSync(openSync(path, flags, 0o600)))) checkPrivate(path, 'file');
  syncFolder(folder);
}

/**
 * Makes a folder of mode 0700, or makes sure that the one found is ours alone.
 * @throws Error naming what is wrong with it
 */
export function preparePrivateFolder(folder: string): void {
  mkdirSync(dirname(folder), { recursive: true });
  if (!made(() => mkdirSync(folder, 0o700))) checkPrivate(folder, 'folder');
}

function made(make: () => void): boolean {
  try {
    make();
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

function checkPrivate(path: string, kind: 'folder' | 'file'): void {
  const found = lstatSync(path);
  if (found.isSymbolicLink()) throw new Error(`${path} is a symbolic link: name the ${kind} itself`);
  if (!isKind(found, kind)) throw new Error(`${path} is not a ${kind}`);
  if (found.uid !== process.geteuid?.()) {
    throw new Error(`${path} belongs to user ${found.uid}: it must belong to the user who runs the server`);
  }
  if ((found.mode & 0o077) !== 0) {
    const mode = (found.mode & 0o777).toString(8);
    throw new Error(`${path} is open to others (mode ${mode}): chmod go= ${path}`);
  }
}

function isKind(found: Stats, kind: 'folder' | 'file'): boolean {
  return kind === 'folder' ? found.isDirectory() : found.isFile();
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
