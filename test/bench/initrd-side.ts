import { fail } from 'node:assert/strict';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { works } from './initrd-works.ts';

/**
 * Does with the image that is named what is asked for, and prints: CPU time of all threads, the longest step between which others
 * come, and by how much memory grew.
 */
setFlagsFromString('--expose-gc');
const [path = '', what = ''] = process.argv.slice(2);
const work = works[what] ?? fail(`there is no work ${what}`);
const prepared = await work(path);
runInNewContext('gc')();
const idle = process.memoryUsage.rss();
let most = idle;
let slice = 0;
let last = threadMs();
let isOver = false;
const look = () => {
  const now = threadMs();
  slice = Math.max(slice, now - last);
  most = Math.max(most, process.memoryUsage.rss());
  last = threadMs();
  if (!isOver) setImmediate(look);
};
look();
await prepared();
isOver = true;
// By itself, as looking costs more than what is looked at.
const before = process.cpuUsage();
const entries = await prepared();
const { user, system } = process.cpuUsage(before);
process.stdout.write(
  JSON.stringify({ cpu: (user + system) / 1000, slice, mib: (most - idle) / 1024 ** 2, entries }),
);

/** Processor time of this thread: a busy machine makes it no longer. */
function threadMs(): number {
  const { user: own, system: kernel } = process.threadCpuUsage();
  return (own + kernel) / 1000;
}
