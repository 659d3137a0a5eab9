import { setImmediate } from 'node:timers/promises';
import type { EnrolledNode } from '../enrolment/ports.ts';
import { unpackEvidence } from '../evidence/unpack.ts';
import type { Bundle } from '../protocol/bundle.ts';
import { Rejection } from '../protocol/rejection.ts';
import { verifyBundleEvidence } from '../verify/bundle-evidence.ts';
import type { Proven } from '../verify/proven.ts';

export interface KeptProofPorts {
  nodes(): Promise<readonly EnrolledNode[]>;
  /** Digest of the evidence behind a node's latest verdict. */
  evidenceDigest(node: string): string | null;
  evidence(digest: string, node: string): Promise<Buffer | null>;
}

/** A node's latest evidence, proven again; or why it cannot be. */
export type KeptProof = { readonly node: EnrolledNode } & (
  | { readonly proven: Proven; readonly bundle: Bundle }
  | { readonly proven: null; readonly note: string }
);

/** Nodes in the order of their names, a page at a time. */
export interface Page {
  readonly after?: string | undefined;
  readonly limit: number;
}

export interface Paged<T> {
  readonly items: readonly T[];
  /** The last name, where there are more. */
  readonly next: string | null;
}

/**
 * Does some work with the kept evidence of each node of a page. One node at a time, and whatever else waits comes in
 * between: a fleet's evidence takes seconds, and challenges must not wait for it.
 */
export async function overKeptProofs<T>(
  ports: KeptProofPorts,
  { after, limit }: Page,
  work: (kept: KeptProof) => T,
): Promise<Paged<T>> {
  const rest = (await ports.nodes())
    .filter(({ name }) => after === undefined || name > after)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const items: T[] = [];
  for (const node of rest.slice(0, limit)) {
    await setImmediate();
    items.push(work(await prove(ports, node)));
  }
  return { items, next: rest.length > limit ? (rest[limit - 1]?.name ?? null) : null };
}

async function prove(ports: KeptProofPorts, node: EnrolledNode): Promise<KeptProof> {
  const digest = ports.evidenceDigest(node.name);
  if (digest === null) return { node, proven: null, note: 'it has not been judged yet' };
  const bundle = await unpackEvidence(digest, (each) => ports.evidence(each, node.name));
  if (bundle === null) return { node, proven: null, note: 'its evidence was erased' };
  try {
    return { node, proven: verifyBundleEvidence(bundle, node.ekDigest), bundle };
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    return {
      node,
      proven: null,
      note: `its evidence cannot be judged again: ${error.code}: ${error.message}`,
    };
  }
}
