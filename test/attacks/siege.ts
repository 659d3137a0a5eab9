import { type EnrolledProgram, enrolledProgramNames } from './enrolled-programs.ts';
import { besiegeAsEnrolled, type EnrolledFigures, type EnrolledSiege, missedBy } from './enrolled-siege.ts';
import { besiegeAsStranger, type SiegeOutcome, strangerSieges } from './stranger-siege.ts';

export const siegeNames = [...strangerSieges, ...enrolledProgramNames];
export type SiegeName = (typeof siegeNames)[number];

export interface SiegeOptions {
  readonly only?: readonly SiegeName[];
  /** Default: 60 for all at once, as long as an honest image may wait where places of initrds are held, and 20 of any other. */
  readonly seconds?: number;
  /** Nodes of the attacker; default: 16 of 300 for all at once, 60 of 80 for open parts, and 8 of 28 for any other. */
  readonly attackers?: number;
}

/** By siege, in the order in which they were made. */
export type Sieges = Readonly<Partial<Record<SiegeName, SiegeOutcome>>>;

/** Makes each attack against a server of its own, one after the other. */
export async function besiege({ only = siegeNames, seconds, attackers }: SiegeOptions = {}): Promise<Sieges> {
  const done: Partial<Record<SiegeName, SiegeOutcome>> = {};
  for (const name of siegeNames) {
    if (!only.includes(name)) continue;
    process.stderr.write(`siege: ${name} ...\n`);
    const siege = isEnrolled(name)
      ? enrolled(name, siegeBy(name, seconds, attackers))
      : besiegeAsStranger(name, seconds ?? 20);
    // The others are made all the same.
    done[name] = await siege.catch((error: unknown) => ({
      figures: {},
      missed: [`it could not be made: ${error}`],
    }));
  }
  return done;
}

async function enrolled(name: EnrolledProgram, siege: EnrolledSiege): Promise<SiegeOutcome> {
  const figures = await besiegeAsEnrolled(name, siege);
  return { figures, missed: missedBy(name, figures) };
}

function siegeBy(
  name: EnrolledProgram,
  seconds: number | undefined,
  attackers: number | undefined,
): EnrolledSiege {
  const usual = { attackers: 8, of: 28, seconds: 20, ...others[name] };
  const owned = attackers ?? usual.attackers;
  // Each of the attacker's nodes has one turn of ten seconds before it is known as a slow one.
  const imageWithin = 30 + 10 * owned;
  return {
    // Who holds places of initrds must hold them longer than an honest node may wait.
    seconds: seconds ?? (name === 'initrd-places' ? imageWithin + 10 : usual.seconds),
    attackers: owned,
    honest: Math.max(1, usual.of - owned),
    imageWithin,
  };
}

/** All at once takes a minute. */
const others: Readonly<
  Partial<Record<EnrolledProgram, Partial<{ attackers: number; of: number; seconds: number }>>>
> = {
  mixed: { attackers: 16, of: 300, seconds: 60 },
  // Of the memory for what nobody has judged yet each node takes little.
  'open-parts': { attackers: 60, of: 80 },
};

const isEnrolled = (name: SiegeName): name is EnrolledProgram =>
  (enrolledProgramNames as readonly string[]).includes(name);

const columns = {
  kept: 'honest_kept',
  anew: 'returns_kept',
  'lag +ms': 'lag_p99_over_ms',
  'MiB +idle': 'rss_over_idle_mib',
  'disk MiB/node': 'disk_mib_a_node',
  'rows KiB/node': 'rows_kib_a_node',
  'image s': 'image_s',
} as const satisfies Readonly<Record<string, keyof EnrolledFigures>>;

/** One line for each siege, and every bound that was missed below them. */
export function siegeText(sieges: Sieges): string {
  const rows = Object.entries(sieges).map(([name, { figures, missed }]) => [
    name,
    ...Object.values(columns).map((key) => String(new Map(Object.entries(figures)).get(key) ?? '-')),
    missed.length === 0 ? 'held' : 'MISSED',
  ]);
  const lines = [['siege', ...Object.keys(columns), ''], ...rows];
  const widths = lines[0]?.map((_, at) => Math.max(...lines.map((line) => line[at]?.length ?? 0))) ?? [];
  const table = lines.map((line) =>
    line
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const missed = Object.entries(sieges).flatMap(([name, each]) =>
    each.missed.map((text) => `missed: ${name}: ${text}`),
  );
  return `${[...table, ...missed].join('\n')}\n`;
}
