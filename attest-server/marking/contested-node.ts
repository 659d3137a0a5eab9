import { LRUCache } from 'lru-cache';
import { atMost } from '../wire/at-most.ts';
import type { ApiBackOff } from './api-back-off.ts';

/**
 * Who stands against what this server writes of one node: how often in a row its marks were changed, or a write of marks or
 * resource was refused, and how long the next one waits for that. Moments are monotonic milliseconds.
 */
interface ContestedNode {
  marks: ContestedMarks;
  readonly resource: ContestedWrites;
}

/** More nodes than a cluster has; beyond that, some are forgotten and start again. */
const mostNodes = 65_536;
/** Milliseconds of peace after which those who change our marks are counted again from zero. */
const peaceAfter = 600_000;
/** Most milliseconds until marks, and those that take trust away, are restored: a fight must not load the API. */
const latest = 300_000;
const latestOfDistrust = 5000;

export class ContestedNodes {
  readonly #nodes = new LRUCache<string, ContestedNode>(atMost(mostNodes));

  of(name: string): ContestedNode {
    const known = this.#nodes.get(name);
    if (known !== undefined) return known;
    const fresh = { marks: new ContestedMarks(), resource: new ContestedWrites() };
    this.#nodes.set(name, fresh);
    return fresh;
  }

  /** The Node is another one, or gone: nobody changed its marks. Its resource may still be the earlier one. */
  renewed(name: string): void {
    const known = this.#nodes.get(name);
    if (known !== undefined) known.marks = new ContestedMarks();
  }

  forget(name: string): void {
    this.#nodes.delete(name);
  }
}

class ContestedWrites {
  /** In a row. */
  failures = 0;
  notBefore = Number.NEGATIVE_INFINITY;

  failed(backOff: Pick<ApiBackOff, 'retryAt'>): void {
    this.failures += 1;
    this.notBefore = backOff.retryAt(this.failures);
  }

  succeeded(): void {
    this.failures = 0;
  }
}

export class ContestedMarks extends ContestedWrites {
  /** When somebody last changed them, in milliseconds since the epoch; null: nobody did. */
  tamperedAt: number | null = null;
  /** When what somebody changed is put back; null if nobody did. No further change prolongs the wait. */
  putBackAt: number | null = null;
  #changes = 0;
  #changedAt = Number.NEGATIVE_INFINITY;

  tampered(at: number, now: number): void {
    this.tamperedAt = now;
    const changes = this.#change(at);
    this.putBackAt = changes <= 2 ? at : at + Math.min(latest, 1000 * 2 ** (changes - 2));
  }

  /** A controller put its startup taint back: no attack. */
  startupTaintRestored(at: number): void {
    this.putBackAt = at + Math.min(latest, 5000 * 2 ** this.#change(at));
  }

  /** Marks that take trust away are restored soon, even in a fight. */
  hasten(at: number): void {
    if (this.putBackAt !== null) this.putBackAt = Math.min(this.putBackAt, at + latestOfDistrust);
  }

  override succeeded(): void {
    super.succeeded();
    this.putBackAt = null;
  }

  /** How often by now. */
  #change(at: number): number {
    this.#changes = at - this.#changedAt > peaceAfter ? 1 : this.#changes + 1;
    this.#changedAt = at;
    return this.#changes;
  }
}
