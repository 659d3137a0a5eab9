import { hash } from 'node:crypto';

/** A repeatable generator (sfc32): the same seed gives the same inputs, on each machine. */
export class Random {
  readonly #state: Uint32Array;

  constructor(seed: string) {
    const digest = hash('sha256', seed, 'buffer');
    this.#state = Uint32Array.from([0, 4, 8, 12], (at) => digest.readUInt32LE(at));
  }

  /** 32 bits. */
  word(): number {
    const state = this.#state;
    const [a = 0, b = 0, c = 0, d = 0] = state;
    const sum = (a + b + d) >>> 0;
    state[3] = d + 1;
    state[0] = b ^ (b >>> 9);
    state[1] = c + (c << 3);
    state[2] = ((c << 21) | (c >>> 11)) + sum;
    return sum;
  }

  /** From 0 up to `count`, which is left out. */
  below(count: number): number {
    return count <= 1 ? 0 : Math.floor((this.word() / 0x1_0000_0000) * count);
  }

  /** True once in `times`. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(list: readonly [T, ...T[]]): T;
  pick<T>(list: readonly T[]): T | undefined;
  pick<T>(list: readonly T[]): T | undefined {
    return list[this.below(list.length)];
  }

  /** A length up to `most`: short ones are as likely as long ones. */
  length(most: number): number {
    const bits = this.below(Math.ceil(Math.log2(most + 1)) + 1);
    return Math.min(most, this.below(2 ** bits) + 1);
  }
}
