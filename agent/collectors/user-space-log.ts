import { join } from 'node:path';
import { readBounded } from './read-bounded.ts';

/** Where systemd writes what it measures itself, below the root. */
export const userSpaceLogPath = 'run/log/systemd/tpm2-measure.log';

/**
 * The log as far as its records are whole: one may be under way. Null where the machine has none, or an empty one.
 * @throws RangeError for a log longer than `most` bytes, and what the file system throws
 */
export async function readUserSpaceLog(sysroot: string, most: number): Promise<Buffer | null> {
  const bytes = await readBounded(join(sysroot, userSpaceLogPath), most);
  const end = bytes === null ? 0 : bytes.lastIndexOf('\n') + 1;
  return bytes === null || end === 0 ? null : bytes.subarray(0, end);
}
