import { setTimeout as sleep } from 'node:timers/promises';
import { run, Tallies } from './attack.ts';
import { frameOf, visit } from './stranger.ts';

/** 1,600 connections of 800 sources, each with a frame of which all but the end comes: 268 KiB. */
const sources = 800;
const connections = 1_600;
const perSecond = 200;

await run(async ({ port, ca, seconds }) => {
  const tallies = new Tallies();
  const payload = Buffer.alloc(268 * 1024 - 14);
  const frames = [frameOf(payload, payload.length + 1024)];
  const end = performance.now() + seconds * 1000;
  const all = Array.from({ length: connections }, async (_, index) => {
    await sleep((index * 1000) / perSecond);
    const from = `127.0.${20 + ((index % sources) >> 7)}.${1 + ((index % sources) & 0x7f)}`;
    if (performance.now() < end)
      await visit(
        { host: '127.0.0.1', port, ca, from, aim: 'hello', frames, stays: end - performance.now() },
        tallies,
      );
  });
  await Promise.all(all);
  return tallies.all();
});
