import type { SupplementPlaces } from '../../wire/supplements.ts';
import type { NodeStatus } from '../ports.ts';
import type {
  GivenSupplement,
  KeptSupplement,
  StoredPlace,
  Supplement,
  SupplementFigures,
} from './supplement.ts';
import { type ProvenAnswer, SupplementedAnswer } from './supplemented-answer.ts';

/** Supplements held for a node, in the order of the list. */
export type HeldSupplements = readonly (GivenSupplement | null)[];

/** The one list of all supplements, and what is done with each of them. */
export class Supplements {
  readonly #all: readonly Supplement[];

  constructor(all: readonly Supplement[]) {
    this.#all = all;
  }

  async open(): Promise<void> {
    for (const one of this.#all) await one.open?.();
  }

  async restore(status: StoredPlace): Promise<void> {
    for (const one of this.#all) await one.restore?.(status);
  }

  /** Where the node's next challenge is to continue each supplement. @param connection its channel value */
  ask(node: string, connection: Buffer): SupplementPlaces {
    const places: { -readonly [Name in keyof SupplementPlaces]: SupplementPlaces[Name] } = {};
    for (const one of this.#all) {
      const place = one.ask(node, connection);
      if (place !== null) places[one.name] = place;
    }
    return places;
  }

  /** Supplements by which the node was judged before; at once, if nothing has to be read for them. */
  held(node: string, parts: NodeStatus['parts']): HeldSupplements | Promise<HeldSupplements> {
    const found = this.#all.map((one) => one.held(node, parts[one.name]));
    return found.some((one) => one instanceof Promise) ? Promise.all(found) : (found as HeldSupplements);
  }

  answered(shown: ProvenAnswer): SupplementedAnswer {
    return new SupplementedAnswer(this.#all, shown);
  }

  /** These are on the disk. */
  written(node: string, kept: readonly KeptSupplement[]): void {
    for (const { name, blobs } of kept) this.#all.find((one) => one.name === name)?.written?.(node, blobs);
  }

  gone(node: string, digests: readonly string[]): void {
    for (const one of this.#all) one.gone?.(node, digests);
  }

  figures(): SupplementFigures {
    return this.#all.find((one) => one.figures !== undefined)?.figures?.() ?? noFigures;
  }

  forget(node: string): void {
    for (const one of this.#all) one.forget(node);
  }

  close(): void {
    for (const one of this.#all) one.close?.();
  }
}

const noFigures: SupplementFigures = { waiting: 0, received: 0, kept: 0 };
