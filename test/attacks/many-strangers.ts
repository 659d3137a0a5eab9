import { setTimeout as sleep } from 'node:timers/promises';
import { run, Tallies } from './attack.ts';
import { frameOf, visit } from './stranger.ts';

/** 1,000 connections a second from 64 sources, each of which means to send a hello. */
const perSecond = 1_000;
const sources = 64;

await run(async ({ port, ca, hello, seconds }) => {
  const tallies = new Tallies();
  const [start, all] = [performance.now(), []] as [number, Promise<void>[]];
  for (let count = 0; performance.now() < start + seconds * 1000; ) {
    // As many as are due by now: a busy machine must not make the attack a milder one.
    for (const due = ((performance.now() - start) / 1000) * perSecond; count < due; count++) {
      const frames = [frameOf(JSON.stringify({ ...hello, node: `stranger-${count}` }))];
      const from = `127.0.8.${1 + (count % sources)}`;
      all.push(visit({ host: '127.0.0.1', port, ca, from, aim: 'hello', frames, stays: 5_000 }, tallies));
    }
    await sleep(2);
  }
  await Promise.race([Promise.all(all), sleep(6_000)]);
  return tallies.all();
});
