import { setTimeout as sleep } from 'node:timers/promises';
import type { Addresses } from '../bench/measured-server.ts';
import { run, Tallies } from './attack.ts';
import { type EnrolledProgram, enrolledPrograms } from './enrolled-programs.ts';
import { type OwnedNode, takenOver } from './owned-node.ts';

export interface EnrolledOrder extends Addresses {
  readonly program: EnrolledProgram;
  readonly seconds: number;
  readonly nodes: readonly OwnedNode[];
  readonly victims: readonly Readonly<Record<string, unknown>>[];
}

if (import.meta.main)
  await run(async ({ program, seconds, nodes, victims, ...server }: EnrolledOrder) => {
    const tallies = new Tallies();
    const end = performance.now() + seconds * 1000;
    const all = nodes.map((node, index) =>
      enrolledPrograms[program]({
        server,
        machine: takenOver(node),
        token: node.token,
        index,
        victims,
        tallies,
        end,
      }),
    );
    await Promise.race([Promise.all(all), sleep(seconds * 1000 + 2_000)]);
    return tallies.all();
  });
