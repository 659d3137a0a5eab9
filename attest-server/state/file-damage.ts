import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { type DatabaseDamage, fileDamage, headerBytes } from '../formats/database-damage.ts';

/** Damage that shows in header and size of a database on the disk; null if there is none. @throws Error of Node.js's own */
export function readFileDamage(path: string): DatabaseDamage | null {
  const file = openSync(path, 'r');
  try {
    const header = Buffer.alloc(headerBytes);
    const length = readSync(file, header, 0, headerBytes, 0);
    const log = statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    return fileDamage(header.subarray(0, length), fstatSync(file).size, log > 0);
  } finally {
    closeSync(file);
  }
}
