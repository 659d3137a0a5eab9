import { setTimeout as sleep } from 'node:timers/promises';
import { run, Tallies } from './attack.ts';
import { visit } from './stranger.ts';

/** One stranger holds 256 connections on every port and says nothing; whoever loses one opens another. */
const each = 256;

await run(async ({ port, apiPort, metricsPort, ca, seconds }) => {
  const tallies = new Tallies();
  const end = performance.now() + seconds * 1000;
  const hold = async (at: number) => {
    while (performance.now() < end) {
      await visit(
        {
          host: '127.0.0.1',
          port: at,
          ca,
          from: '127.0.9.1',
          aim: 'tcp',
          frames: [],
          stays: end - performance.now(),
        },
        tallies,
      );
      await sleep(200);
    }
  };
  await Promise.all(
    [port, apiPort, metricsPort].flatMap((at) => Array.from({ length: each }, () => hold(at))),
  );
  return tallies.all();
});
