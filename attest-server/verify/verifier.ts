import { type PartName, type Parts, partNames } from '../wire/evidence.ts';
import { Memory } from './memory.ts';
import type { Proven } from './proven.ts';
import { type Evidence, type ExpectedIdentity, SignedAnswer, type SignedEvidence, verify } from './verify.ts';

/** Verifies one answer after the other, and computes nothing again that it has proven before. Its memory is bounded. */
export class Verifier {
  readonly #memory = Memory.empty();

  /** @throws Rejection as `verify` */
  verify(evidence: Evidence, expected: ExpectedIdentity): Proven {
    return verify(evidence, expected, this.#memory);
  }

  /** Only who signed it, and for which challenge; what it gives verifies the rest. @throws Rejection as `verify` */
  checkSigned(evidence: SignedEvidence, expected: ExpectedIdentity): SignedAnswer {
    return SignedAnswer.check(evidence, expected, this.#memory);
  }

  /** Bytes that these logs take as they were read; 0 where they must be read. */
  readingSize(log: string, userSpace: string | null): number {
    return this.#memory.readingSize(log, userSpace);
  }

  /** Up to where IMA's list of this key's last boot was proven; null if nothing is known of it. */
  imaProven(
    akName: string,
  ): { readonly bytes: number; readonly head: string; readonly entries: number } | null {
    return this.#memory.lastList(akName)?.last ?? null;
  }

  /** The parts of which the caller must still supply the bytes: they came without, and are not remembered. */
  missing(parts: Parts): readonly PartName[] {
    return partNames.filter((name) => {
      const part = parts[name];
      if (part === undefined || part.bytes !== null) return false;
      if (name === 'loaderFiles') return this.#memory.files(part.digest) === null;
      if (name === 'initrds') return this.#memory.initrds(part.digest) === null;
      return this.#memory.part(part.digest) === null;
    });
  }

  /** True if the bytes of this file are not needed to know what it is. */
  knowsFile(digest: string): boolean {
    return this.#memory.file(digest) !== null;
  }

  /** Knows nothing of this attestation key any longer; logs that others may have sent too stay. */
  forget(akName: string): void {
    this.#memory.forget(akName);
  }
}
