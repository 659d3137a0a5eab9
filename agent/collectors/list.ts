/**
 * A file for each collector, all in this one list (those of a gate in `early`): `boot-log`, `user-space-log`, `ima-log` (for servers of
 * 0.3.0), `disk` (with `block-devices` and `resolve-below`), `firewall` (asks `netfilter`), `host` (what the
 * machine is), `running` (how it runs: `ssh` and what that reads, `sysctls`, `upkeep`), and `inventory` (a
 * process that ends), `installed` (what lies ready for the next boot); and one for each supplement: `loader-files`, `initrd`, `ima-list`.
 */

import type { Collector } from './collector.ts';
import { disk } from './disk.ts';
import { earlyCollectors } from './early.ts';
import { firewall } from './firewall.ts';
import { installed } from './installed.ts';
import { inventory } from './inventory.ts';
import { running } from './running.ts';

/** Every collector, for one agent: what they remember is its own. The socket is that of netfilter, or null. */
export const collectors = (netfilter: string | null): readonly Collector[] => [
  ...earlyCollectors(),
  disk,
  firewall(netfilter),
  running(),
  inventory(),
  installed,
];
