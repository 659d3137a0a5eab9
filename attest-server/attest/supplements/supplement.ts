/**
 * Long kinds of evidence that the server asks for after an answer, behind one interface (this file) and in one
 * list (`list`): which files a node is asked for first (`loader-files`); which initrds are known, and who sends
 * one when (`initrds`, `kept-initrds`, `partial-images`, `image-reader`, `image-queue`, `upload-turns`); how
 * much of IMA's list is proven of each node, and kept (`ima-lists`, `ima-list`, `waiting-lists`). `supplements`
 * does with each what is done with all, and `supplemented-answer` leads one answer from its first proof to that
 * of the whole.
 *
 * An answer is verified with what was known before, and once more with what supplements give: a test counts
 * that. `verify` says what the first proof lacks: components of the boot that nothing explains, initrds of
 * which no manifest is known, and up to where the list was proven. Whoever waits for what another node sends
 * does so before his node's turn, and holds up nothing of it.
 *
 * On the wire all are alike, for agents that speak `supplements`. `supplements.NAME` of a challenge has digests
 * (of), a byte to begin at, a boot, and how many bytes may come; that of an answer has where it begins, whether
 * there is more, and the digests of the pieces, which come before it in frames. Agents of 0.3.0 are asked for
 * files alone, and send their list as a part (`channel/arrived-supplements`).
 */

import type { EvidenceOwner } from '../../evidence/held-by-node.ts';
import type { Blob } from '../../evidence/kept-form.ts';
import type { MeasuredBoot } from '../../verify/measured-boot.ts';
import type { Proven } from '../../verify/proven.ts';
import type { Evidence } from '../../verify/verify.ts';
import type { Part } from '../../wire/evidence.ts';
import type { AnsweredSupplement, SupplementName, SupplementPlace } from '../../wire/supplements.ts';
import type { NodeStatus } from '../ports.ts';

/**
 * One long kind of evidence that the server asks for after an answer, of all nodes. An answer is verified with what was known of
 * it before; each supplement takes what came, and says what it adds to that; then the answer is verified once more, where that is
 * something else.
 */
export interface Supplement {
  /** The part that lists what is kept of it. */
  readonly name: SupplementName;
  /** To take it, others may have to be waited for: that is done before it is the node's turn. */
  readonly waits?: true;
  /** Goes on with what is stored of all nodes. */
  open?(): Promise<void>;
  /** Goes on with what is stored of this node. */
  restore?(status: StoredPlace): Promise<void>;
  /** Where the node's next challenge is to continue; null if nothing is to be asked for. @param connection its channel value */
  ask(node: string, connection: Buffer): SupplementPlace | null;
  /**
   * The supplement by which the node's boot was judged before; at once, if nothing has to be read. @param digest of the
   * part; undefined if there was none
   */
  held(node: string, digest: string | undefined): GivenSupplement | null | Promise<GivenSupplement | null>;
  /**
   * Null if there is nothing to take, and nothing is lacking: as with most answers.
   * @param answered undefined if the agent cannot be asked for it
   * @param held as `held` gave it
   * @throws Rejection
   */
  take(
    lacking: LackingAnswer,
    answered: AnsweredSupplement | undefined,
    held: GivenSupplement | null,
  ): Promise<TakenSupplement> | null;
  /** The node is asked for something else before it is judged: it need not send this once more. */
  keep?(node: string, given: GivenSupplement): void;
  /** These are on the disk. */
  written?(node: string, blobs: readonly Blob[]): void;
  /** Shared evidence of this node is gone. */
  gone?(node: string, digests: readonly string[]): void;
  /** It is no node any more, or its record is archived. */
  forget(node: string): void;
  close?(): void;
  figures?(): SupplementFigures;
}

/** For whoever watches. */
export interface SupplementFigures {
  /** Images that nodes booted and the server does not have, also those that are being sent. */
  readonly waiting: number;
  /** Bytes that came since the start, and of what is kept of all. */
  readonly received: number;
  readonly kept: number;
}

/** Members of a node's status that say what is kept. */
export type StoredPlace = Pick<NodeStatus, 'name' | 'parts' | 'resetCount' | 'restartCount' | 'bootId'>;

/** An answer that is proven with what was known before. */
export interface LackingAnswer {
  readonly node: EvidenceOwner;
  readonly connection: Buffer;
  readonly proven: Proven;
  /** Its boot, as what is given by now explains it. */
  boot(): MeasuredBoot | null;
  /** The same with other files. @throws Rejection */
  bootWith(given: GivenSupplement): MeasuredBoot | null;
  /** Up to where the policy in force judged the node's list of what ran: a `head` of `ProvenImaList`. */
  judgedTo(): string | null;
}

/** A supplement that the server adds to an answer. */
export interface GivenSupplement {
  readonly name: SupplementName;
  /** The part that lists it; null if it is verified otherwise. */
  readonly part: Part | null;
  /** Files that the part lists, by SHA-256, if the verifier needs the bytes. */
  readonly files: ReadonlyMap<string, Buffer>;
  /** IMA's list to verify. */
  readonly list?: NonNullable<Evidence['ima']>;
  /** Bytes to keep once the answer is proven with it; if absent, the part and the files that it lists. */
  readonly kept?: (proven: Proven) => Promise<KeptSupplement | null>;
  /** The answer is proven, or will not be. */
  readonly done?: () => void;
}

export type TakenSupplement =
  /** @param given null if nothing is known of it */
  | { readonly is: 'enough'; readonly given: GivenSupplement | null }
  /** The node is asked for more before it is judged. */
  | { readonly is: 'more' }
  /** It is judged without. @param why for a person @param asks it is asked for the rest at once */
  | {
      readonly is: 'wait';
      readonly given: GivenSupplement | null;
      readonly why: string;
      readonly asks: boolean;
    };

/** A supplement as it is kept beside the verdict on it. */
export interface KeptSupplement {
  readonly name: SupplementName;
  readonly part: Part;
  /**
   * Bytes that follow after everything that the part lists, kept in the answer's own document. Null for a supplement
   * that does not grow.
   */
  readonly tail: Buffer | null;
  /** Of what it lists, that which may not be on the disk yet. */
  readonly blobs: readonly Blob[];
  /** These are too much for one transaction with the verdict. */
  readonly isLong: boolean;
}
