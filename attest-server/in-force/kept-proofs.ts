import { setImmediate } from 'node:timers/promises';
import type { EnrolledNode } from '../enrolment/ports.ts';
import type { Bundle } from '../formats/bundle.ts';
import { inSteps } from '../formats/in-steps.ts';
import { verifyBundleInSteps } from '../verify/bundle-evidence.ts';
import type { Proven } from '../verify/proven.ts';
import { Rejection } from '../wire/rejection.ts';

export interface KeptProofPorts {
  nodes(): Promise<readonly EnrolledNode[]>;
  /** Digest of the evidence behind a node's latest verdict. */
  evidenceDigest(node: string): Promise<string | null>;
  /** Null if it was erased. */
  bundle(node: string, digest: string): Promise<Bundle | null>;
}

/** A node's latest evidence, proven again; or why it cannot be. */
export type KeptProof = { readonly node: EnrolledNode } & (
  | { readonly proven: Proven; readonly bundle: Bundle }
  | { readonly proven: null; readonly note: string }
);

/** Nodes in the order of their names, a page at a time. */
export interface NodeRange {
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
  { after, limit }: NodeRange,
  work: (kept: KeptProof) => T | Promise<T>,
): Promise<Paged<T>> {
  const rest = (await ports.nodes())
    .filter(({ name }) => after === undefined || name > after)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const items: T[] = [];
  for (const node of rest.slice(0, limit)) {
    await setImmediate();
    items.push(await work(await proveLatest(ports, node)));
  }
  return { items, next: rest.length > limit ? (rest[limit - 1]?.name ?? null) : null };
}

/** A verdict that comes meanwhile takes the place of the evidence that was just named. */
async function proveLatest(ports: KeptProofPorts, node: EnrolledNode): Promise<KeptProof> {
  const digest = await ports.evidenceDigest(node.name);
  const kept = await prove(ports, node, digest);
  if (kept.proven !== null) return kept;
  const later = await ports.evidenceDigest(node.name);
  return later === digest ? kept : prove(ports, node, later);
}

/**
 * Proves kept evidence of a node again, as it was when a verdict was made of it.
 * @param digest of that evidence; null if there is none
 */
export async function prove(
  ports: Pick<KeptProofPorts, 'bundle'>,
  node: EnrolledNode,
  digest: string | null,
): Promise<KeptProof> {
  if (digest === null) return { node, proven: null, note: 'it has not been judged yet' };
  const bundle = await ports.bundle(node.name, digest);
  if (bundle === null) return { node, proven: null, note: 'its evidence was erased' };
  try {
    return { node, proven: await inSteps(verifyBundleInSteps(bundle, node.ekDigest)), bundle };
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    return {
      node,
      proven: null,
      note: `its evidence cannot be judged again: ${error.code}: ${error.message}`,
    };
  }
}
