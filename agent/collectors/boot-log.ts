import { hash } from 'node:crypto';
import { join } from 'node:path';
import { readBounded } from './read-bounded.ts';

/** The firmware's log of what it started. */
export interface BootLog {
  readonly bytes: Buffer;
  /** SHA-256, hex. */
  readonly digest: string;
}

/** Where Linux shows the log of the first TPM, below the root. */
export const bootLogPath = 'sys/kernel/security/tpm0/binary_bios_measurements';

/**
 * Reads the log once a boot: it does not change afterwards. Null where the machine has none, or an empty one.
 * The reader throws RangeError for a log longer than `most` bytes, and what the file system throws.
 */
export function bootLogReader(sysroot: string, most: number): (bootId: string) => Promise<BootLog | null> {
  let kept: { readonly bootId: string; readonly log: Promise<BootLog | null> } | null = null;
  return async (bootId) => {
    if (kept?.bootId !== bootId) kept = { bootId, log: readBootLog(sysroot, most) };
    const { log } = kept;
    try {
      // What is not there yet may come: its file system may be mounted late.
      if ((await log) === null && kept?.log === log) kept = null;
    } catch (error) {
      if (kept?.log === log) kept = null;
      throw error;
    }
    return log;
  };
}

async function readBootLog(sysroot: string, most: number): Promise<BootLog | null> {
  const bytes = await readBounded(join(sysroot, bootLogPath), most);
  return bytes === null || bytes.length === 0 ? null : { bytes, digest: hash('sha256', bytes, 'hex') };
}
