import { readSync } from 'node:fs';
import type { ParsedHeader } from '../../attest-server/wire/luks-header.ts';
import { readWanted } from '../inspect/disk.ts';

/**
 * The LUKS header at the begin of an open device or file; null if there is none, or one of its copies is damaged.
 * @throws what the system throws where the device cannot be read
 */
export async function headerOn(fd: number): Promise<ParsedHeader | null> {
  const { header, faults } = await readWanted(async ({ at, asked }) => {
    const bytes = Buffer.alloc(asked);
    return bytes.subarray(0, readSync(fd, bytes, 0, asked, at));
  }, true);
  return faults.length === 0 ? header : null;
}
