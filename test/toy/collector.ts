// Goes to agent/collectors/firewall.ts, which is as deep as this folder: the imports hold in both places.
import { join } from 'node:path';
import type { PartCollector } from '../../agent/collectors/collector.ts';
import { readBounded } from '../../agent/collectors/read-bounded.ts';
import { limits } from '../../attest-server/protocol/limits.ts';

/** Below the root. */
export const rulesPath = 'etc/firewall.rules';

/** The rules of the firewall, as a file holds them. */
export const firewall: PartCollector = {
  name: 'firewall',
  part: 'firewall',
  read: (sysroot, signal) => readBounded(join(sysroot, rulesPath), limits.parts.firewall, signal),
};
