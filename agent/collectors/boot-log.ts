import { join } from 'node:path';
import { limits } from '../../attest-server/wire/limits.ts';
import { readBootId } from './boot-id.ts';
import type { PartCollector } from './collector.ts';
import { unlessHidden } from './host-view.ts';
import { readBounded } from './read-bounded.ts';

/** Where Linux shows the log of the first TPM, below the root. */
export const bootLogPath = 'sys/kernel/security/tpm0/binary_bios_measurements';

/**
 * The firmware's log of what it started. Read once a boot, since it does not change afterwards; what is not there yet
 * may come, as its file system may be mounted late.
 */
export function bootLog(): PartCollector {
  let kept: { readonly bootId: string; readonly sysroot: string; readonly bytes: Buffer } | null = null;
  return {
    name: 'boot',
    part: 'boot',
    within: 5_000,
    missing: { code: 'no_boot_log', text: 'the firmware left no log; is securityfs mounted?' },
    async read(sysroot, signal) {
      const bootId = await readBootId(sysroot);
      if (kept?.bootId === bootId && kept.sysroot === sysroot) return kept.bytes;
      const bytes = await readBounded(join(sysroot, bootLogPath), limits.parts.boot, signal);
      if (bytes === null) return unlessHidden(sysroot, `/${bootLogPath}`, signal);
      if (bytes.length === 0) return null;
      kept = { bootId, sysroot, bytes };
      return bytes;
    },
  };
}
