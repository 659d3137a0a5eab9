import { join } from 'node:path';
import { limits } from '../../attest-server/wire/limits.ts';
import type { PartCollector } from './collector.ts';
import { unlessHidden } from './host-view.ts';
import { readBounded } from './read-bounded.ts';

/** Where the kernel shows what it measured itself, below the root. */
export const imaLogPath = 'sys/kernel/security/ima/binary_runtime_measurements';

/**
 * IMA's list, whole or not at all, for servers that ask for no offset. The kernel shows no part of an entry; one without IMA has
 * no such file.
 */
export const imaLog: PartCollector = {
  name: 'ima',
  part: 'ima',
  after: 'quote',
  within: 2_000,
  async read(sysroot, signal) {
    const bytes = await readBounded(join(sysroot, imaLogPath), limits.parts.ima, signal);
    if (bytes === null) return unlessHidden(sysroot, `/${imaLogPath}`, signal);
    return bytes.length === 0 ? null : bytes;
  },
};
