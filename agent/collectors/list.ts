import { bootLog } from './boot-log.ts';
import type { Collector } from './collector.ts';
import { firewall } from './firewall.ts';
import { host } from './host.ts';
import { imaLog } from './ima-log.ts';
import { loaderFiles } from './loader-files.ts';
import { userSpaceLog } from './user-space-log.ts';

/** Every collector, for one agent: what they remember is its own. The socket is that of netfilter, or null. */
export const collectors = (netfilter: string | null): readonly Collector[] => [
  bootLog(),
  userSpaceLog,
  imaLog,
  firewall(netfilter),
  host,
  loaderFiles,
];
