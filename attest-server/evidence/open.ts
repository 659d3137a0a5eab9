import type { Bundle } from '../protocol/bundle.ts';
import type { Store } from '../store/store.ts';
import { namedDigests } from './kept-form.ts';
import { startRetention } from './retention.ts';
import { unpackEvidence } from './unpack.ts';

export interface EvidenceParts {
  readonly store: Pick<Store, 'status' | 'evidence' | 'evidenceOwners' | 'eraseEvidence' | 'eraseUnused'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** How long evidence is kept, and that of changes of state. Milliseconds. */
  readonly evidenceFor: number;
  readonly transitionEvidenceFor: number;
  readonly fault: (error: unknown, where: string) => void;
}

/** The evidence that is kept, until it is old. */
export interface KeptEvidence extends AsyncDisposable {
  /** The evidence behind the node's latest verdict, or another one of it by its digest; null where none is kept. */
  bundle(node: string, digest: string | null): Promise<Bundle | null>;
}

export function openEvidence(parts: EvidenceParts): KeptEvidence {
  const { store, now, evidenceFor, transitionEvidenceFor, fault } = parts;
  const erasing = startRetention({
    store,
    now,
    fault,
    named: namedDigests,
    evidence: evidenceFor,
    transitionEvidence: transitionEvidenceFor,
  });
  return {
    async bundle(node, asked) {
      const digest = asked ?? (await store.status(node))?.evidenceDigest ?? null;
      if (digest === null) return null;
      const found = await unpackEvidence(digest, (each) => store.evidence(each, node));
      return found?.context?.node === node ? found : null;
    },
    [Symbol.asyncDispose]: () => erasing.close(),
  };
}
