import { setTimeout as sleep } from 'node:timers/promises';
import type { Addresses } from '../bench/measured-server.ts';
import { run, Tallies } from './attack.ts';
import { type EnrolledProgram, enrolledPrograms } from './enrolled-programs.ts';
import { type OwnedNode, takenOver } from './owned-node.ts';

export interface EnrolledOrder extends Addresses {
  readonly program: EnrolledProgram;
  readonly seconds: number;
  /** What is to be done at least once each, in two minutes at most, however long that takes on a busy machine. */
  readonly wanted: readonly string[];
  readonly nodes: readonly OwnedNode[];
  readonly victims: readonly Readonly<Record<string, unknown>>[];
}

const longestMs = 120_000;

if (import.meta.main)
  await run(async ({ program, seconds, wanted, nodes, victims, ...server }: EnrolledOrder) => {
    const tallies = new Tallies();
    const began = performance.now();
    const end = () => {
      const isDone = wanted.every((what) => tallies.get(what) > 0);
      return began + (isDone ? seconds * 1000 : Math.max(seconds * 1000, longestMs));
    };
    const all = nodes.map((node, index) =>
      enrolledPrograms[program]({
        server,
        machine: takenOver(node),
        token: node.token,
        index,
        victims,
        tallies,
        get end() {
          return end();
        },
      }),
    );
    const over = async () => {
      while (performance.now() < end() + 2_000) await sleep(100);
    };
    await Promise.race([Promise.all(all), over()]);
    return tallies.all();
  });
