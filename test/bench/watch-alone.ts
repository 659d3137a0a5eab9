import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { watched } from '../../agent/watch/list.ts';
import { startWatch } from '../../agent/watch/watch.ts';

/** Watches a sysroot for so many seconds and prints the milliseconds of processor time that this took. */
const [sysroot = '/', seconds = '60'] = process.argv.slice(2);
await sleep(2_000);
const before = process.cpuUsage();
using _watch = startWatch(
  watched(sysroot, () => ['/var/lib/docker', '/var/lib/containerd', '/var/lib/kubelet']),
  () => {},
  pino({ level: 'silent' }),
);
await sleep(Number(seconds) * 1_000);
const { user, system } = process.cpuUsage(before);
process.stdout.write(`${(user + system) / 1_000}\n`);
