/**
 * Evidence as it is kept: the one document packed (`pack`) and unpacked (`unpack`), with its parts by digest;
 * how much a node may send (`node-budgets`: `disk-budget`, `logs-per-boot`) and hold (`held-by-node`); and
 * `retention`.
 */

import { LRUCache } from 'lru-cache';
import type { Bundle } from '../formats/bundle.ts';
import type { Reference } from '../formats/reference.ts';
import { HeldByNode } from './held-by-node.ts';
import { type ContextTexts, type NamedContext, readContext } from './kept-context.ts';
import { NodeBudgets } from './node-budgets.ts';
import { type Context, keptContext, Packer } from './pack.ts';
import type { EvidencePorts } from './ports.ts';
import { startRetention } from './retention.ts';
import { unpackEvidence } from './unpack.ts';

/** Evidence of nodes, as it is kept. */
export interface EvidenceRoom extends AsyncDisposable {
  readonly packer: Packer;
  /** Budgets of a node that is new here. The owner of the node keeps them, and forgets them with the node. */
  budgetsOf(node: string): NodeBudgets;
  /** Evidence that is kept of each node, of all kinds together. */
  readonly share: HeldByNode;
  /** Holds in memory what will be kept, for whoever reads it before it is. */
  hold(digest: string, bytes: Buffer): void;
  /** Policy and references as they are kept with each answer that is judged by them. */
  contextOf(policyText: string, references: readonly Reference[]): Context;
  /** The texts of an earlier policy and references that kept evidence of this node names; null if they are gone. */
  context(named: NamedContext, node: string): Promise<ContextTexts | null>;
  /** The bytes of a part, or of something else that kept evidence of this node names; null if they are gone. */
  readPart(digest: string, node: string): Promise<Buffer | null>;
  /** The same of a piece of IMA's list, or of its index: it is read seldom, and takes no room in memory. */
  readPiece(digest: string, node: string): Promise<Buffer | null>;
  /** Digests of evidence of this node that begin with these hex digits: two at most. */
  named: EvidencePorts['store']['named'];
  /** The evidence behind a verdict of this node, by its digest; null if it, or what it names, is gone. */
  bundle(node: string, digest: string): Promise<Bundle | null>;
}

/** Bytes of parts that are held in memory, and of one alone: a fleet's boot logs are read again and again. */
const heldBytes = 64 * 1024 * 1024;
const largestHeld = 4 * 1024 * 1024;

export type EvidenceConfig = Pick<
  EvidencePorts,
  'evidenceFor' | 'transitionEvidenceFor' | 'challengeEvery' | 'nodeShare'
>;

/** Opens the room: what is too old goes from now on. */
export function openEvidence(
  { evidenceFor, transitionEvidenceFor, challengeEvery, nodeShare }: EvidenceConfig,
  parts: Omit<EvidencePorts, keyof EvidenceConfig>,
): EvidenceRoom {
  const { store, now, monotonic } = parts;
  const held = new LRUCache<string, Buffer>({
    maxSize: heldBytes,
    maxEntrySize: largestHeld,
    sizeCalculation: ({ length }, digest) => length + digest.length,
  });
  const readPart: EvidenceRoom['readPart'] = async (digest, node) => {
    const known = held.get(digest);
    if (known !== undefined) return known;
    const bytes = await store.readShared(digest, node);
    if (bytes !== null) held.set(digest, bytes);
    return bytes;
  };
  const share = new HeldByNode({ store, share: nodeShare, now, monotonic });
  share.onGone((digests) => {
    for (const digest of digests) held.delete(digest);
  });
  const retention = startRetention({ ...parts, evidenceFor, transitionEvidenceFor });
  return {
    packer: new Packer(),
    budgetsOf: (node) => new NodeBudgets(node, challengeEvery),
    share,
    hold: (digest, bytes) => held.set(digest, bytes),
    contextOf: keptContext,
    context: (named, node) => readContext(named, (digest) => store.readShared(digest, node)),
    readPart,
    readPiece: store.readShared,
    named: (node, digits) => store.named(node, digits),
    async bundle(node, digest) {
      // The answer's own blob is read once and found no second time: it is not held.
      const read = (each: string) => (each === digest ? store.read(each, node) : readPart(each, node));
      const found = await unpackEvidence(digest, read, (each) => store.readShared(each, node));
      return found?.context?.node === node ? found : null;
    },
    [Symbol.asyncDispose]: () => retention.close(),
  };
}
