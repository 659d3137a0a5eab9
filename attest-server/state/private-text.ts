import { randomUUID } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

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
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** @throws Error where it is no file of this user alone */
export function readPrivate(path: string): string {
  const { mode, uid } = lstatSync(path);
  if ((mode & 0o170000) !== 0o100000) throw new Error(`${path} is no file`);
  if (uid !== process.geteuid?.() || (mode & 0o077) !== 0)
    throw new Error(`${path} is open to others: chmod 600 ${path}`);
  return readFileSync(path, 'utf8');
}
