import { bootLog } from './boot-log.ts';
import type { Collector } from './collector.ts';
import { host } from './host.ts';
import { imaLog } from './ima-log.ts';
import { inventory } from './inventory.ts';
import { loaderFiles } from './loader-files.ts';
import { running } from './running.ts';
import { userSpaceLog } from './user-space-log.ts';

/** Every collector, for one agent: what they remember is its own. */
export const collectors = (): readonly Collector[] => [
  bootLog(),
  userSpaceLog,
  imaLog,
  host,
  running(),
  loaderFiles,
  inventory(),
];
