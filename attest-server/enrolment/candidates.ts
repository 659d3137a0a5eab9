import { outsideText } from '../protocol/printable.ts';
import { sourceOf } from '../protocol/source.ts';
import type { Candidate, EnrolmentStore } from './ports.ts';

/** What a TPM said when it was told to wait. */
export type Claim = Omit<Candidate, 'firstSeen' | 'lastSeen' | 'attempts'>;

/** Of one name: in all, and from one source. */
const perName = 16;
const perNameAndSource = 4;
const inAll = 1024;
/** The disk hears of one candidate at most once in this time, however often it comes. */
const quietMs = 10_000;

interface Waiting {
  readonly candidate: Candidate;
  /** Whence it first came, as far as that is known: later anybody may say its keys from elsewhere. */
  readonly source: string;
  readonly writtenAt: number;
  readonly isWritten: boolean;
}

/**
 * TPMs for which nobody vouched. They wait side by side: none blocks another. Where room is needed, whichever source
 * takes most of it gives way, and of that whoever was seen last the longest ago, but for whoever claimed a name first. A
 * flood costs memory of a fixed size, and one transaction at each `flush`.
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
        source: sourceOf(candidate.address),
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
    const source = before?.source ?? sourceOf(claim.address);
    if (before === undefined) this.#makeRoom(claim.node, source);
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
      source,
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
    for (const [key, { candidate, source }] of due)
      this.#waiting.set(key, { candidate, source, writtenAt: now, isWritten: true });
    await this.#store.saveCandidates({ changed: due.map(([, { candidate }]) => candidate), gone });
  }

  #makeRoom(node: string, source: string): void {
    const all = [...this.#waiting.values()];
    const ofName = all.filter(({ candidate }) => candidate.node === node);
    const ofSource = ofName.filter((each) => each.source === source);
    if (ofSource.length >= perNameAndSource) this.#dropOf(ofSource);
    else if (ofName.length >= perName) this.#dropOf(ofName);
    else if (all.length >= inAll) this.#dropOf(all);
  }

  /** @param crowd in the order in which they were last seen */
  #dropOf(crowd: readonly Waiting[]): void {
    const first = new Map<string, Candidate>();
    for (const { candidate } of this.#waiting.values()) {
      const known = first.get(candidate.node);
      if (known === undefined || candidate.firstSeen < known.firstSeen) first.set(candidate.node, candidate);
    }
    const isFirst = ({ candidate }: Waiting) => first.get(candidate.node) === candidate;
    const [most = []] = heaviest(crowd).sort((a, b) => Number(a.every(isFirst)) - Number(b.every(isFirst)));
    const dropped = most.find((each) => !isFirst(each)) ?? most[0];
    if (dropped !== undefined) this.forget(dropped.candidate);
  }
}

/** By source, those of it: of each source that has most. */
function heaviest(crowd: readonly Waiting[]): (readonly Waiting[])[] {
  const bySource = [...Map.groupBy(crowd, ({ source }) => source).values()];
  const most = Math.max(...bySource.map(({ length }) => length));
  return bySource.filter(({ length }) => length === most);
}

function keyOf({ node, ekDigest }: Pick<Candidate, 'node' | 'ekDigest'>): string {
  return `${node} ${ekDigest}`;
}
