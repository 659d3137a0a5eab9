import type { ProtectedThing } from '../formats/marking.ts';
import { type AdmissionGap, admissionGaps, policyNameOf } from './admission-gaps.ts';
import { type AdmissionReader, ClusterError } from './ports.ts';

export interface AdmissionWatchParts {
  readonly admission: AdmissionReader;
  /** Objects that this server writes at present and others must not; none if it does not mark. */
  readonly atStake: () => readonly ProtectedThing[];
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  readonly report: {
    /** Others than before; none: it is over. A sentence each. */
    unprotected(faults: readonly string[]): void;
  };
}

/** Milliseconds from one look to the next. */
const lookEvery = 60_000;
/** The same while something is wrong: whoever puts it right sees that it is. */
const againAfter = 10_000;

/** Looks whether admission denies to others what this server writes: as soon as it begins to mark, and once a minute. */
export class AdmissionWatch implements Disposable {
  readonly #parts: AdmissionWatchParts;
  #gaps: readonly AdmissionGap[] = [];
  /** Of the latest look. */
  #atStake: readonly ProtectedThing[] = [];
  /** By the monotonic clock. */
  #lookAt = Number.NEGATIVE_INFINITY;
  #isLooking = false;
  #isEnded = false;

  constructor(parts: AdmissionWatchParts) {
    this.#parts = parts;
  }

  get gaps(): readonly AdmissionGap[] {
    return this.#gaps;
  }

  /** Faults at present, a sentence each. */
  faults(): readonly string[] {
    return this.#gaps.map(sentenceOf);
  }

  /** Looks, as far as it is time. */
  async turn(): Promise<void> {
    const { atStake, monotonic } = this.#parts;
    const things = atStake();
    const isSame = things.join() === this.#atStake.join();
    if (this.#isLooking || (isSame && monotonic() < this.#lookAt)) return;
    this.#isLooking = true;
    try {
      const found = (await Promise.all(things.map((thing) => this.#look(thing)))).flat();
      if (this.#isEnded) return;
      this.#atStake = things;
      this.#lookAt = monotonic() + (found.length > 0 ? againAfter : lookEvery);
      this.#take(found);
    } finally {
      this.#isLooking = false;
    }
  }

  [Symbol.dispose](): void {
    this.#isEnded = true;
  }

  async #look(protects: ProtectedThing): Promise<readonly AdmissionGap[]> {
    const { admission } = this.#parts;
    const name = policyNameOf(protects);
    try {
      const [policy, binding] = await Promise.all([admission.policy(name), admission.binding(name)]);
      return admissionGaps(protects, policy, binding);
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      return [{ protects, cause: 'unread', text: error.message }];
    }
  }

  #take(gaps: readonly AdmissionGap[]): void {
    const before = this.faults();
    this.#gaps = gaps;
    const faults = this.faults();
    if (faults.join() !== before.join()) this.#parts.report.unprotected(faults);
  }
}

const words: Readonly<Record<ProtectedThing, string>> = {
  marks: 'the marks of Nodes',
  attestations: 'NodeAttestations',
  latch: 'the latch',
};

function sentenceOf({ protects, cause, text }: AdmissionGap): string {
  const what = words[protects];
  return cause === 'unread'
    ? `nobody knows whether admission protects ${what}: ${text}`
    : `admission does not protect ${what}: ${text} (manifests/base/admission/${protects}.yaml)`;
}
