import type { Addresses } from '../bench/measured-server.ts';

/** What an attacker is told; what he does not know stands not here. */
export interface Order extends Addresses {
  readonly seconds: number;
  /** The public halves of an enrolled node's keys, and its name: the hello that anybody can copy. */
  readonly hello: Readonly<Record<string, unknown>>;
}

export type Counts = Readonly<Record<string, number>>;

/** What the attacker's process tells at its end. */
export interface Report {
  readonly counts: Counts;
  readonly cpuMs: number;
}

/** Runs an attack as the program that this process is: for the time of its order, then it tells what came of it and ends. */
export async function run(attack: (order: Order) => Promise<Counts>): Promise<void> {
  const order: Order = JSON.parse(process.argv[2] ?? '{}');
  // Whatever hangs.
  setTimeout(() => process.exit(1), (order.seconds + 60) * 1000).unref();
  // A connection that is lost is what attackers expect.
  process.on('uncaughtException', () => {});
  process.once('disconnect', () => process.exit(1));
  const before = process.cpuUsage();
  const counts = await attack(order).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exit(1);
  });
  const { user, system } = process.cpuUsage(before);
  const report: Report = { counts, cpuMs: Math.round((user + system) / 1000) };
  process.send?.(report, () => process.exit(0));
}

/** Counts by name. */
export class Tallies {
  readonly #counts = new Map<string, number>();
  add(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }
  get(name: string): number {
    return this.#counts.get(name) ?? 0;
  }
  all(): Counts {
    return Object.fromEntries(this.#counts);
  }
}
