/** The authorities of TPM makers, as PEM files in this folder. */

import type { TrustRoots } from '../verify/endorsement-chain.ts';
import { readTrustRoots } from './read-roots.ts';

/** Whom we trust to endorse TPMs. It holds nothing that must be closed. */
export interface Roots extends AsyncDisposable {
  /** At present. */
  trust(): TrustRoots;
  /** Reads the folders again; what is faulty leaves the old ones in force. @throws Error */
  read(): void;
}

/** @param names `builtin` and folders of *.pem; empty: nobody. @throws Error for a folder or certificate that cannot be used */
export function openRoots(names: readonly string[]): Roots {
  let trust = readTrustRoots(names);
  return {
    trust: () => trust,
    read() {
      trust = readTrustRoots(names);
    },
    async [Symbol.asyncDispose]() {},
  };
}
