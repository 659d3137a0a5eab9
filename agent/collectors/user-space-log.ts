import { join } from 'node:path';
import { limits } from '../../attest-server/wire/limits.ts';
import type { PartCollector } from './collector.ts';
import { readBounded } from './read-bounded.ts';

/** Where systemd writes what it measures itself, below the root. */
export const userSpaceLogPath = 'run/log/systemd/tpm2-measure.log';

/** The log up to its last complete record: one may be in progress. Null if it is empty. */
export const userSpaceLog: PartCollector = {
  name: 'userSpace',
  part: 'userSpace',
  after: 'quote',
  async read(sysroot, signal) {
    const bytes = await readBounded(join(sysroot, userSpaceLogPath), limits.parts.userSpace, signal);
    const end = bytes === null ? 0 : bytes.lastIndexOf('\n') + 1;
    return bytes === null || end === 0 ? null : bytes.subarray(0, end);
  },
};
