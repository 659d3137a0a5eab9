import { outsideText } from '../protocol/printable.ts';
import type { Candidate, EnrolmentStore } from './ports.ts';

/** What a TPM said when it was told to wait. */
export type Claim = Omit<Candidate, 'firstSeen' | 'lastSeen' | 'attempts'>;

const perName = 8;
const inAll = 1024;
/** The disk hears of one candidate at most once in this time, however often it comes. */
const quietMs = 10_000;

interface Waiting {
  readonly candidate: Candidate;
  readonly writtenAt: number;
  readonly isWritten: boolean;
}

/**
 * TPMs for which nobody vouched. They wait side by side: none blocks another, and whoever was seen last is dropped
 * last. A flood costs memory of a fixed size, and one transaction at each `flush`.
 */
export class Candidates {
  readonly #store: Pick<EnrolmentStore, 'candidates' | 'saveCandidates'>;
  /** In the order in which they were last seen. */
  readonly #waiting = new Map<string, Waiting>();
  readonly #gone = new Map<string, Pick<Candidate, 'node' | 'ekDigest'>>();

  private constructor(store: Pick<EnrolmentStore, 'candidates' | 'saveCandidates'>) {
    this.#store = store;
  }

  static async open(store: Pick<EnrolmentStore, 'candidates' | 'saveCandidates'>): Promise<Candidates> {
    const candidates = new Candidates(store);
    for (const candidate of await store.candidates())
      candidates.#waiting.set(keyOf(candidate), {
        candidate,
        writtenAt: candidate.lastSeen,
        isWritten: true,
      });
    return candidates;
  }

  list(): readonly Candidate[] {
    return [...this.#waiting.values()].map(({ candidate }) => candidate);
  }

  note(claim: Claim, now: number): void {
    const key = keyOf(claim);
    const before = this.#waiting.get(key);
    const { firstSeen, attempts } = before?.candidate ?? { firstSeen: now, attempts: 0 };
    if (before === undefined) this.#makeRoom(claim.node);
    this.#waiting.delete(key);
    this.#gone.delete(key);
    this.#waiting.set(key, {
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
    if (!this.#waiting.delete(key)) return;
    this.#gone.set(key, { node: candidate.node, ekDigest: candidate.ekDigest });
    // What was dropped and never written needs no more memory than what waits.
    const [oldest] = this.#gone.keys();
    if (this.#gone.size > inAll * 2 && oldest !== undefined) this.#gone.delete(oldest);
  }

  /** Writes what changed; with `all`, also what was written a moment ago. */
  async flush(now: number, all = false): Promise<void> {
    const due = [...this.#waiting].filter(
      ([, { isWritten, writtenAt }]) => !isWritten && (all || now >= writtenAt + quietMs),
    );
    const gone = [...this.#gone.values()];
    if (due.length === 0 && gone.length === 0) return;
    this.#gone.clear();
    // In its place: setting a key that is there keeps the order.
    for (const [key, { candidate }] of due)
      this.#waiting.set(key, { candidate, writtenAt: now, isWritten: true });
    await this.#store.saveCandidates({ changed: due.map(([, { candidate }]) => candidate), gone });
  }

  #makeRoom(node: string): void {
    const ofName = this.list().filter((candidate) => candidate.node === node);
    const [oldest] = this.#waiting.values();
    const dropped = ofName.length >= perName ? ofName[0] : undefined;
    if (dropped !== undefined) this.forget(dropped);
    else if (this.#waiting.size >= inAll && oldest !== undefined) this.forget(oldest.candidate);
  }
}

function keyOf({ node, ekDigest }: Pick<Candidate, 'node' | 'ekDigest'>): string {
  return `${node} ${ekDigest}`;
}
