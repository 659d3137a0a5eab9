import { createReadStream } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { imageReader } from '../../attest-server/attest/image-reader.ts';

/**
 * Reads the image that is named as the server does, in pieces of a MiB as a node sends it, and prints: CPU time of all threads, the longest step
 * between which others come, and by how much memory grew.
 */
setFlagsFromString('--expose-gc');
const [path = ''] = process.argv.slice(2);
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
await read();
isOver = true;
// By itself, as looking costs more than what is looked at.
const before = process.cpuUsage();
const entries = await read();
const { user, system } = process.cpuUsage(before);
process.stdout.write(
  JSON.stringify({ cpu: (user + system) / 1000, slice, mib: (most - idle) / 1024 ** 2, entries }),
);

/** Processor time of this thread: a busy machine makes it no longer. */
function threadMs(): number {
  const { user: own, system: kernel } = process.threadCpuUsage();
  return (own + kernel) / 1000;
}

async function read(): Promise<number> {
  const reader = imageReader();
  for await (const piece of createReadStream(path, { highWaterMark: 1024 * 1024 })) await reader.push(piece);
  const {
    manifest: { entries: made, faults },
  } = await reader.end();
  if (faults.length > 0) throw new Error(`the image has a fault: ${faults[0]?.text}`);
  return made.length;
}
