import { outsideText } from '../wire/printable.ts';
import { mayWait, type ReasonCode } from '../wire/reasons.ts';
import { sourceOf } from '../wire/source.ts';
import { ClaimTable, type NameClaim } from './claim-table.ts';
import type { Candidate } from './ports.ts';

/** Who came under a name and was refused. Nothing of it is proven. */
export interface KnownClaim {
  readonly node: string;
  /** SHA-256 of the endorsement key that it showed, hex; null if it showed none. */
  readonly ekDigest: string | null;
  readonly code: ReasonCode;
  /** Our own words on it; null if only the number is kept, from before the server started. */
  readonly text: string | null;
  readonly attempts: number;
  /** Milliseconds since the epoch. */
  readonly firstSeen: number;
  readonly lastSeen: number;
  /** Where it last came from. */
  readonly address: string;
}

type RefusedClaim = Pick<KnownClaim, 'node' | 'ekDigest' | 'code' | 'address'> & { readonly text: string };

/**
 * Refusals under each name since the server started: a number for each key and code. Those of names that are enrolled
 * have a room of their own, which invented names cannot use up.
 */
export class Claims {
  readonly #ofNodes = new ClaimTable<KnownClaim & NameClaim>();
  readonly #ofOthers = new ClaimTable<KnownClaim & NameClaim>();

  /** @param isEnrolled whether a node has that name now */
  note({ node, ekDigest, code, text, address }: RefusedClaim, isEnrolled: boolean, now: number): void {
    const key = `${node} ${ekDigest} ${code}`;
    const table = [this.#ofNodes, this.#ofOthers].find((one) => one.get(key) !== undefined);
    const before = table?.get(key);
    (table ?? (isEnrolled ? this.#ofNodes : this.#ofOthers)).put(key, {
      node,
      ekDigest,
      code,
      text: outsideText(text),
      attempts: (before?.attempts ?? 0) + 1,
      firstSeen: before?.firstSeen ?? now,
      lastSeen: now,
      address,
      source: before?.source ?? sourceOf(address),
    });
  }

  /** That TPM is that node now. */
  forget(node: string, ekDigest: string): void {
    for (const table of [this.#ofNodes, this.#ofOthers])
      for (const [key, claim] of [...table.entries()])
        if (claim.node === node && claim.ekDigest === ekDigest) table.delete(key);
  }

  /**
   * By name, whoever came first in front.
   * @param candidates those that wait: kept over a start of the server, with all their attempts
   */
  byName(candidates: readonly Candidate[]): ReadonlyMap<string, readonly KnownClaim[]> {
    const refused = [...this.#ofNodes.values(), ...this.#ofOthers.values()].map(
      ({ source: _, ...claim }): KnownClaim => claim,
    );
    const waiting = new Map(candidates.map((one) => [`${one.node} ${one.ekDigest}`, one]));
    // The latest of the codes by which a TPM waits stands for all that it tried.
    const told = refused
      .sort((a, b) => b.lastSeen - a.lastSeen)
      .map((claim) => {
        const key = `${claim.node} ${claim.ekDigest}`;
        const candidate = mayWait(claim.code) ? waiting.get(key) : undefined;
        if (candidate === undefined) return claim;
        waiting.delete(key);
        const { firstSeen, attempts } = candidate;
        return { ...claim, firstSeen, attempts: Math.max(attempts, claim.attempts) };
      });
    const kept = [...waiting.values()].map(
      ({ node, ekDigest, attempts, firstSeen, lastSeen, address }): KnownClaim => ({
        node,
        ekDigest,
        code: 'enrolment_pending',
        text: null,
        attempts,
        firstSeen,
        lastSeen,
        address,
      }),
    );
    const all = [...told, ...kept].sort((a, b) => a.firstSeen - b.firstSeen);
    return Map.groupBy(all, ({ node }) => node);
  }
}
