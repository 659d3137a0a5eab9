import { fork } from 'node:child_process';
import { setPriority } from 'node:os';
import { join } from 'node:path';
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
export async function run<O extends { readonly seconds: number } = Order>(
  attack: (order: O) => Promise<Counts>,
): Promise<void> {
  const order: O = JSON.parse(process.argv[2] ?? '{}');
  // Whatever hangs. On a busy machine it begins late, and has its time all the same.
  setTimeout(() => process.exit(1), (order.seconds + 300) * 1000).unref();
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

/** Starts a program of this folder as an attacker, and waits for its report. */
export async function startAttack(name: string, order: object): Promise<Report> {
  const child = fork(join(import.meta.dirname, `${name}.ts`), [JSON.stringify(order)]);
  // His machine is another one: what he needs of this one's time is not the server's.
  if (child.pid !== undefined) setPriority(child.pid, 10);
  return await new Promise<Report>((resolve, reject) => {
    // Both ends are this program.
    child.once('message', (message) => resolve(message as Report));
    child.once('exit', (code) => reject(new Error(`the attacker ended with ${code}`)));
  });
}

/** Counts by name. */
export class Tallies {
  readonly #counts = new Map<string, number>();
  add(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }
  /** Keeps the most. */
  atMost(name: string, count: number): void {
    this.#counts.set(name, Math.max(this.get(name), count));
  }
  get(name: string): number {
    return this.#counts.get(name) ?? 0;
  }
  all(): Counts {
    return Object.fromEntries(this.#counts);
  }
}
