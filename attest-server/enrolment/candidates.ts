import { LRUCache } from 'lru-cache';
import { outsideText } from '../wire/printable.ts';
import { sourceOf } from '../wire/source.ts';
import { ClaimTable, inAll, type NameClaim } from './claim-table.ts';
import type { Candidate, EnrolmentStore } from './ports.ts';

/** Claim of a TPM that must wait. */
export type CandidateClaim = Omit<Candidate, 'firstSeen' | 'lastSeen' | 'attempts'>;

/** The disk hears of one candidate at most once in this time, however often it comes. */
const quietMs = 10_000;

interface WaitingCandidate extends NameClaim {
  readonly candidate: Candidate;
  readonly writtenAt: number;
  readonly isWritten: boolean;
}

/**
 * TPMs for which nobody vouched. They wait side by side: none blocks another, and a flood costs memory of a fixed size
 * (`ClaimTable`), and one transaction at each `flush`.
 */
export class Candidates {
  readonly #store: Pick<EnrolmentStore, 'candidates' | 'saveCandidates'>;
  readonly #waiting = new ClaimTable<WaitingCandidate>(({ candidate }, key) => this.#drop(key, candidate));
  /** Candidates that were dropped before they were written: bounded like those that wait. */
  readonly #gone = new LRUCache<string, Pick<Candidate, 'node' | 'ekDigest'>>({ max: inAll * 2 });

  private constructor(store: Pick<EnrolmentStore, 'candidates' | 'saveCandidates'>) {
    this.#store = store;
  }

  static async open(store: Pick<EnrolmentStore, 'candidates' | 'saveCandidates'>): Promise<Candidates> {
    const candidates = new Candidates(store);
    for (const candidate of await store.candidates())
      candidates.#waiting.replace(keyOf(candidate), {
        candidate,
        node: candidate.node,
        firstSeen: candidate.firstSeen,
        source: sourceOf(candidate.address),
        writtenAt: candidate.lastSeen,
        isWritten: true,
      });
    return candidates;
  }

  list(): readonly Candidate[] {
    return [...this.#waiting.values()].map(({ candidate }) => candidate);
  }

  note(claim: CandidateClaim, now: number): void {
    const key = keyOf(claim);
    const before = this.#waiting.get(key);
    const { firstSeen, attempts } = before?.candidate ?? { firstSeen: now, attempts: 0 };
    this.#gone.delete(key);
    this.#waiting.put(key, {
      node: claim.node,
      firstSeen,
      source: before?.source ?? sourceOf(claim.address),
      candidate: {
        ...claim,
        certificateSubject: claim.certificateSubject === null ? null : outsideText(claim.certificateSubject),
        firstSeen,
        lastSeen: now,
        attempts: attempts + 1,
      },
      writtenAt: before?.writtenAt ?? Number.NEGATIVE_INFINITY,
      isWritten: false,
    });
  }

  /** It became a node, or nobody asks any more. */
  forget(candidate: Pick<Candidate, 'node' | 'ekDigest'>): void {
    const key = keyOf(candidate);
    if (this.#waiting.delete(key)) this.#drop(key, candidate);
  }

  #drop(key: string, { node, ekDigest }: Pick<Candidate, 'node' | 'ekDigest'>): void {
    this.#gone.set(key, { node, ekDigest });
  }

  /** Writes what changed; with `all`, also what was written a moment ago. */
  async flush(now: number, all = false): Promise<void> {
    const due = [...this.#waiting.entries()].filter(
      ([, { isWritten, writtenAt }]) => !isWritten && (all || now >= writtenAt + quietMs),
    );
    const gone = [...this.#gone.values()];
    if (due.length === 0 && gone.length === 0) return;
    this.#gone.clear();
    for (const [key, waiting] of due)
      this.#waiting.replace(key, { ...waiting, writtenAt: now, isWritten: true });
    try {
      await this.#store.saveCandidates({ changed: due.map(([, { candidate }]) => candidate), gone });
    } catch (error) {
      for (const each of gone)
        if (this.#waiting.get(keyOf(each)) === undefined) this.#gone.set(keyOf(each), each);
      for (const [key] of due) {
        const now = this.#waiting.get(key);
        if (now !== undefined) this.#waiting.replace(key, { ...now, isWritten: false });
      }
      throw error;
    }
  }
}

function keyOf({ node, ekDigest }: Pick<Candidate, 'node' | 'ekDigest'>): string {
  return `${node} ${ekDigest}`;
}
