import { readSync } from 'node:fs';
import type { ParsedHeader } from '../../attest-server/wire/luks-header.ts';
import { AgentError } from '../agent-error.ts';
import { describeFault } from '../describe-fault.ts';
import { readWanted } from '../inspect/disk.ts';

/**
 * The LUKS header at the begin of an open device or file; null if there is none, or one of its copies is damaged.
 * @param mayDiffer a cut may have left its copies different: the newer one that is whole counts, as for cryptsetup
 * @throws AgentError `luks_header` where it cannot be read
 */
export async function headerOn(fd: number, mayDiffer = false): Promise<ParsedHeader | null> {
  const { header, faults } = await readWanted(async ({ at, asked }) => {
    const bytes = Buffer.alloc(asked);
    try {
      return bytes.subarray(0, readSync(fd, bytes, 0, asked, at));
    } catch (cause) {
      throw new AgentError('luks_header', `the device ${isGone('read', cause)}`, { cause });
    }
  }, true);
  return faults.length === 0 || mayDiffer ? header : null;
}

/** The end of a sentence on a disk that fails, or was taken out while it was in use. */
export function isGone(what: 'read' | 'written', cause: unknown): string {
  return `cannot be ${what} (${describeFault(cause).text}): it is gone or broken. The kernel says more: journalctl --dmesg`;
}

/**
 * Whether a device begins as a LUKS2 header of this UUID does, whole or not. "LUKS2 On-Disk Format Specification" 1.1.3, section 2.1.
 * @param sector its first 512 bytes
 */
export function beginsHeaderOf(sector: Buffer, uuid: string): boolean {
  const magic = Buffer.from('LUKS\xba\xbe\0\x02', 'latin1');
  return sector.indexOf(magic) === 0 && sector.indexOf(`${uuid}\0`, 168, 'latin1') === 168;
}
