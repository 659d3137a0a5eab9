/**
 * A file for each collector, all in this one list: `boot-log`, `user-space-log`, `ima-log` (for servers of
 * 0.3.0), `disk` (with `block-devices` and `resolve-below`), `firewall` (asks `netfilter`), `host` (what the
 * machine is), `running` (how it runs: `ssh` and what that reads, `sysctls`, `upkeep`), and `inventory` (a
 * process that ends); and one for each supplement: `loader-files`, `initrd`, `ima-list`.
 */

import { bootLog } from './boot-log.ts';
import type { Collector } from './collector.ts';
import { disk } from './disk.ts';
import { firewall } from './firewall.ts';
import { host } from './host.ts';
import { imaList } from './ima-list.ts';
import { imaLog } from './ima-log.ts';
import { initrd } from './initrd.ts';
import { inventory } from './inventory.ts';
import { loaderFiles } from './loader-files.ts';
import { running } from './running.ts';
import { userSpaceLog } from './user-space-log.ts';

/** Every collector, for one agent: what they remember is its own. The socket is that of netfilter, or null. */
export const collectors = (netfilter: string | null): readonly Collector[] => [
  bootLog(),
  userSpaceLog,
  imaLog,
  imaList(),
  disk,
  firewall(netfilter),
  host,
  running(),
  loaderFiles,
  initrd(),
  inventory(),
];
