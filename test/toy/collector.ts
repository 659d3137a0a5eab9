// Goes to agent/collectors/listed-programs.ts, which is as deep as this folder: the imports hold in both places.
import { join } from 'node:path';
import type { PartCollector } from '../../agent/collectors/collector.ts';
import { readBounded } from '../../agent/collectors/read-bounded.ts';
import { limits } from '../../attest-server/wire/limits.ts';

/** Below the root. */
export const programsPath = 'etc/programs.list';

/** The programs of a machine, as a file lists them. */
export const listedPrograms: PartCollector = {
  name: 'inventory',
  part: 'inventory',
  read: (sysroot, signal) => readBounded(join(sysroot, programsPath), limits.parts.inventory, signal),
};
