import { inspected } from './inspected.ts';
import { listeners } from './listeners.ts';
import { mappings } from './mappings.ts';
import { mounts } from './mounts.ts';
import type { WatchedSource } from './watch.ts';

/** In the order in which they are looked at. @param paths that the policy protects, as far as it is known */
export const watched = (sysroot: string, paths: () => readonly string[]): readonly WatchedSource[] => [
  mounts(sysroot, paths),
  mappings(sysroot),
  inspected(sysroot),
  listeners(sysroot),
];
