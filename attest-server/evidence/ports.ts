import type { AuditEvent } from '../formats/audit.ts';

/** Dependencies of the evidence room; `server.ts` supplies them. */
export interface EvidencePorts {
  readonly store: EvidenceStore;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** How long evidence is kept, in milliseconds; that of a change of state longer. */
  readonly evidenceFor: number;
  readonly transitionEvidenceFor: number;
  /** From one challenge of a node to the next, in milliseconds. */
  readonly challengeEvery: number;
  /** Bytes that may be kept of one node, of all kinds together. */
  readonly nodeShare: number;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  readonly fault: (error: unknown, where: string) => void;
}

/** Facts about kept bytes that the store cannot know. */
export interface UnusedRequest {
  /** Shared blobs that were used since, milliseconds since the epoch, stay unread. */
  readonly usedBefore: number;
  /** Whoever erases verdicts' own evidence has been through all that is older; it must be later by more than a day. */
  readonly keptBefore: number;
  /** When an answer came, and what it names; null for bytes that are none. */
  readonly named: (bytes: Buffer) => { readonly at: number; readonly digests: readonly string[] } | null;
  /** Kinds of shared blobs that name others: what they begin with, and the digests in one. */
  readonly lists: readonly NamingBlobs[];
  readonly event: (digests: readonly string[]) => AuditEvent;
  readonly signal: AbortSignal;
}

export interface NamingBlobs {
  /** Begins with `assay/`: the store finds such blobs by that. */
  readonly head: Buffer;
  readonly named: (bytes: Buffer) => readonly string[];
}

/** Evidence that is kept of one TPM, under the name that it has, or had last. */
export interface HeldEvidence extends Pick<UnusedRequest, 'named' | 'lists' | 'event'> {
  readonly node: string;
  readonly ekDigest: string;
}

export interface GivingWay extends HeldEvidence {
  /** Digests of shared evidence that an answer names which is not kept yet. */
  readonly naming: Iterable<string>;
  /** Bytes. */
  readonly free: number;
  readonly least: number;
}

/** Evidence that is kept, by its SHA-256, hex. */
export interface EvidenceStore {
  /**
   * A blob that many verdicts share. @param node also what verdicts of this node were made from, and its latest answer,
   * written or on its way to the disk
   */
  read(digest: string, node?: string): Promise<Buffer | null>;
  /**
   * A blob that many verdicts share, written or on its way to the disk with an answer of this node. However long the
   * node's history is, this takes no longer: who has proven nothing yet may name any digest.
   */
  readShared(digest: string, node: string): Promise<Buffer | null>;
  /**
   * Digests of evidence that verdicts of this node name, which begin with these hex digits; two at most. Whether it is
   * still kept, `read` says.
   */
  named(node: string, digits: string): Promise<readonly string[]>;
  /** Names of all nodes of which evidence may be kept, the revoked ones too. */
  owners(): Promise<readonly string[]>;
  /**
   * Erases the evidence of a node's next verdicts that are older than `before`: `all` spares transitions, and the
   * latest one is always spared. What they share stays. False if nothing is left to look at.
   */
  erase(request: {
    readonly node: string;
    readonly kind: 'all' | 'transitions';
    readonly before: number;
    readonly limit: number;
    readonly event: (digests: readonly string[]) => AuditEvent;
  }): Promise<boolean>;
  /**
   * Erases what no kept answer names any longer.
   * @returns how many. @throws Error if an answer cannot be read: then nothing is erased
   */
  eraseUnused(request: UnusedRequest): Promise<number>;
  /**
   * Bytes that are kept of this TPM: shared evidence that it names, whoever else names it, its answers, and its rows of history and
   * audit log. What an earlier program stored is not among them.
   */
  held(ekDigest: string): Promise<number>;
  /** Resolves when what is on its way to the disk of this node is there, or refused. */
  settledOf(node: string): Promise<void>;
  /**
   * Erases evidence of this TPM, from its latest answers back, until `free` bytes are freed. What its present verdict rests on stays,
   * and so do that by which it became untrusted, and what is `naming`. Nothing is erased where less than `least` can be.
   * @returns digests of shared evidence that is gone, since nobody else names it
   */
  giveWay(request: GivingWay): Promise<readonly string[]>;
  /** Erases all evidence of a TPM that is no node any more, as `giveWay` does it; its rows count no longer. */
  eraseHeld(request: HeldEvidence): Promise<readonly string[]>;
}
