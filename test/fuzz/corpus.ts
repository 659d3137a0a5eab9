import { hash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from './random.ts';

interface Kept {
  readonly bytes: Buffer;
  /** What is dear, or refused at the first look, is chosen less often. */
  readonly cost: number;
}

/** Inputs that reached something new: in memory, and in a folder from which the next run goes on. */
export class Corpus {
  readonly #folder: string;
  readonly #kept: Kept[] = [];
  readonly #names = new Set<string>();
  #bytes = 0;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  /** What an earlier run left. */
  saved(): readonly Buffer[] {
    return filesIn(this.#folder);
  }

  add(bytes: Buffer, isPastHeader: boolean): void {
    const name = hash('sha256', bytes, 'hex').slice(0, 24);
    if (this.#names.has(name)) return;
    this.#names.add(name);
    this.#bytes += bytes.length;
    // Not the time that it takes, which is another one with each run: the same seed makes the same inputs.
    this.#kept.push({ bytes: Buffer.from(bytes), cost: (bytes.length + 64) * (isPastHeader ? 1 : 8) });
    writeFileSync(join(this.#folder, name), bytes);
  }

  get size(): number {
    return this.#kept.length;
  }

  /** Of all that is kept. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The cheaper and the newer of some: dear inputs would take all of the time. */
  pick(random: Random): Buffer {
    const newest = this.#kept.length - 1 - (random.length(this.#kept.length) - 1);
    let best = random.once(3) ? this.#kept[newest] : undefined;
    for (let tries = random.below(3); tries >= 0; tries--) {
      const other = random.pick(this.#kept);
      if (best === undefined || (other !== undefined && other.cost < best.cost)) best = other;
    }
    return best?.bytes ?? Buffer.alloc(0);
  }
}

/** In the order of their names; none where there is no such folder. */
export function filesIn(folder: string): readonly Buffer[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(join(folder, name)));
}
