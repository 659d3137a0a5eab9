import { closeSync, openSync, readSync } from 'node:fs';

/** Whether the file begins with these bytes. */
export function beginsWith(path: string, begin: Buffer): boolean {
  const file = openSync(path, 'r');
  try {
    const found = Buffer.alloc(begin.length);
    readSync(file, found, 0, found.length, 0);
    return found.equals(begin);
  } finally {
    closeSync(file);
  }
}
