import { setTimeout as sleep } from 'node:timers/promises';
import { run, Tallies } from './attack.ts';
import { frameOf, visit } from './stranger.ts';

/** Four sources, each with forty connections at a time that come again at once: a hello, and then noise. */
const sources = 4;
const atOnce = 40;
const most = 20_000;

await run(async ({ port, ca, hello, seconds }) => {
  const tallies = new Tallies();
  const end = performance.now() + seconds * 1000;
  const frames = [
    frameOf(JSON.stringify({ ...hello, node: 'stranger' })),
    ...Array.from({ length: 50 }, () => frameOf(Buffer.alloc(4096))),
  ];
  const flood = async (from: string) => {
    while (performance.now() < end && tallies.get('tried') < most) {
      await visit({ host: '127.0.0.1', port, ca, from, aim: 'hello', frames, stays: 2_000 }, tallies);
      await sleep(5);
    }
  };
  await Promise.all(
    Array.from({ length: sources * atOnce }, (_, index) => flood(`127.0.6.${1 + (index % sources)}`)),
  );
  return tallies.all();
});
