import { bootLog } from './boot-log.ts';
import type { Collector } from './collector.ts';
import { host } from './host.ts';
import { imaList } from './ima-list.ts';
import { imaLog } from './ima-log.ts';
import { initrd } from './initrd.ts';
import { loaderFiles } from './loader-files.ts';
import { userSpaceLog } from './user-space-log.ts';

/** The collectors of programs that run before kubelet: what the others read comes into being after these. */
export const earlyCollectors = (): readonly Collector[] => [
  bootLog(),
  userSpaceLog,
  imaLog,
  imaList(),
  host,
  loaderFiles,
  initrd(),
];
