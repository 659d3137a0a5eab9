import type { AuditEntry, AuditEvent } from '../protocol/audit.ts';
import type { AuditKey, AuditOrigin } from '../protocol/audit-key.ts';
import type { Bound } from '../protocol/enrolment-method.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import type { Reference } from '../protocol/reference.ts';
import type { TpmClass } from '../protocol/tpm-class.ts';
import type { NodeState, Verdict } from '../protocol/verdict.ts';

/** One endorsement key that is one node. Times are milliseconds since the epoch. */
export interface EnrolledNode {
  /** SHA-256 of the endorsement key's TPMT_PUBLIC, hex: the record's key. */
  readonly ekDigest: string;
  /** Unique among records that are not revoked. */
  readonly name: string;
  readonly bound: Bound;
  readonly ekPublicArea: Buffer;
  readonly ekCertificate: Buffer | null;
  readonly akPublicArea: Buffer;
  readonly akName: string;
  /** Maker and kind of the TPM by the word of the root that endorsed it; null and `unknown` where none did. */
  readonly manufacturer: string | null;
  readonly tpmClass: TpmClass;
  /** SHA-256 of the certificate of the root that vouched for the EK certificate, hex; null: unverified, or none. */
  readonly endorsedBy: string | null;
  /** The machine's id in its cloud, only where `bound` is `cloud`. */
  readonly providerId?: string;
  readonly enrolledAt: number;
}

/** The record whose name another machine has now. */
export interface Superseded {
  readonly ekDigest: string;
  readonly reason: string;
  readonly audit: AuditEvent;
}

/** What the counters of a TPM alone do not tell; see policy/boot-sequence.ts. */
export interface KeptSequence {
  readonly firstBootId: string | null;
  readonly rewind: 'none' | 'seen' | 'passed';
  readonly held: ReasonCode | null;
}

/** What is known of a node now; one per enrolled node. */
export interface NodeStatus {
  readonly name: string;
  readonly ekDigest: string;
  readonly state: NodeState;
  /** The latest verdict, as stored; null before the first. After expiry its reasons hold `evidence_overdue`. */
  readonly verdict: Verdict | null;
  readonly verifiedAt: number | null;
  readonly expiresAt: number | null;
  /** When this server first saw the current boot proven. */
  readonly bootedAt: number | null;
  /** Counters and clock: the highest that were seen; firmware: as accepted. All null: the next ones are the first. */
  readonly resetCount: number | null;
  readonly restartCount: number | null;
  readonly clock: bigint | null;
  readonly firmwareVersion: string | null;
  readonly bootId: string | null;
  readonly sequence: KeptSequence | null;
  readonly kernel: string | null;
  /** SMBIOS, as the node last said it. */
  readonly systemUuid: string | null;
  /** The latest log that this node sent: one that stops sending its log hides something. */
  readonly bootLogDigest: string | null;
  /** Digest of the stored bundle that the latest verdict rests on. */
  readonly evidenceDigest: string | null;
}

export interface HistoryEntry {
  readonly node: string;
  readonly at: number;
  readonly verdict: Verdict;
  readonly evidenceDigest: string | null;
  /** True where the state differs from the entry before. */
  readonly transition: boolean;
}

export type { AuditEntry, AuditEvent, Bound };

/** How long the audit log is, and the hash of its latest entry. */
export interface AuditHead {
  readonly size: number;
  readonly head: string;
}

/** Puts an audit event into the chain; `prev` is 64 zeros for the first entry, whose `seq` is 1. `audit/chain.ts` fills it. */
export type ChainEntry = (prev: string, seq: number, event: AuditEvent) => AuditEntry;

export interface Pin {
  readonly node: string;
  readonly ekDigest: string;
}

export interface JoinToken {
  readonly id: string;
  /** SHA-256 of the secret, hex. */
  readonly secretHash: string;
  readonly node: string;
  readonly expiresAt: number;
  readonly usedAt: number | null;
}

/** A token of a person or a program for the API. */
export interface ApiToken {
  /** The part of the token's text by which it is found; no secret. */
  readonly id: string;
  /** Unique. */
  readonly name: string;
  readonly role: string;
  /** SHA-256 of the secret, hex. */
  readonly secretHash: string;
  readonly createdBy: string;
  readonly createdAt: number;
  /** Null: it holds until it is revoked. */
  readonly expiresAt: number | null;
}

/** A TPM that claimed a name and for which nobody has vouched. Everything here is its own word. */
export interface Candidate {
  readonly node: string;
  readonly ekDigest: string;
  readonly ekPublicArea: Buffer;
  /** Of the endorsement certificate, whoever issued it. */
  readonly certificateSubject: string | null;
  readonly manufacturer: string | null;
  /** Where it last came from. */
  readonly address: string;
  readonly firstSeen: number;
  readonly lastSeen: number;
  readonly attempts: number;
}

/** A person's word for one enrolment that has not happened yet. */
export interface Approval {
  readonly node: string;
  readonly ekDigest: string;
  readonly by: string;
  readonly at: number;
}

/** Everything that one attestation changes, committed together or not at all. */
export interface VerdictRecord {
  readonly status: NodeStatus;
  readonly at: number;
  /**
   * Content-addressed evidence to keep: the one that the status names is this verdict's own; the others (a boot log, a
   * policy) are shared, and not written again where they are present.
   */
  readonly evidence: readonly { readonly digest: string; readonly bytes: Buffer }[];
  /** History rows in order: usually one; after a reboot `pending (rebooted)` precedes the verdict. */
  readonly history: readonly Omit<HistoryEntry, 'node'>[];
  readonly audit: readonly AuditEvent[];
}

/** What the store cannot know of the bytes that it keeps. */
export interface UnusedRequest {
  /** Shared blobs that were used since, milliseconds since the epoch, stay unread. */
  readonly usedBefore: number;
  /** Whoever erases verdicts' own evidence has been through all that is older; it must be later by more than a day. */
  readonly keptBefore: number;
  /** When an answer came, and what it names; null for bytes that are none. */
  readonly named: (bytes: Buffer) => { readonly at: number; readonly digests: readonly string[] } | null;
  readonly event: (digests: readonly string[]) => AuditEvent;
  readonly signal: AbortSignal;
}

/** What we remember. A resolved promise of a writing method means: committed and synced to disk. */
export interface Store {
  node(name: string): Promise<EnrolledNode | null>;
  nodeByEk(ekDigest: string): Promise<EnrolledNode | null>;
  /**
   * @param superseded the name's record until now, revoked together with the enrolment
   * @throws Rejection `ek_already_bound` where the key or the name belongs to another record: uniqueness is the store's.
   */
  enrol(node: EnrolledNode, audit: AuditEvent, joinTokenId?: string, superseded?: Superseded): Promise<void>;

  status(name: string): Promise<NodeStatus | null>;
  statuses(): Promise<readonly NodeStatus[]>;
  /** Enrolled nodes by name, for lists. */
  nodes(): Promise<readonly EnrolledNode[]>;
  recordVerdict(record: VerdictRecord): Promise<void>;
  /** Newest first; no two rows of a node share their `at`. `before` is the `at` of the last row of the page before, exclusive. */
  history(name: string, page: { limit: number; before?: number }): Promise<readonly HistoryEntry[]>;

  /** What many verdicts share. @param node also what verdicts of this node were made from; the latest is found at once */
  evidence(digest: string, node?: string): Promise<Buffer | null>;
  /** Names of all nodes of which evidence may be kept, the revoked ones too. */
  evidenceOwners(): Promise<readonly string[]>;
  /**
   * Erases the evidence of a node's next verdicts that are older than `before`: `all` spares transitions, and the
   * current one is always spared. What they share (boot logs, policies) stays. False where nothing is left to look at.
   */
  eraseEvidence(request: {
    readonly node: string;
    readonly kind: 'all' | 'transitions';
    readonly before: number;
    readonly limit: number;
    readonly event: (digests: readonly string[]) => AuditEvent;
  }): Promise<boolean>;

  /**
   * Erases what many answers share (boot logs, keys, PCR values, policies) where no kept one names it any longer.
   * @returns how many. @throws Error where an answer cannot be read: then nothing is erased
   */
  eraseUnused(request: UnusedRequest): Promise<number>;

  references(): Promise<readonly Reference[]>;
  /** @throws Error where the name exists; Rejection `too_large` where all together would be. */
  addReference(reference: Reference, audit: AuditEvent): Promise<void>;
  /** Replaces the one of this name. @throws Error where there is none */
  updateReference(reference: Reference, audit: AuditEvent): Promise<void>;

  pins(): Promise<readonly Pin[]>;
  pinFor(node: string): Promise<Pin | null>;
  addPins(pins: readonly Pin[], audit: AuditEvent): Promise<void>;
  addJoinToken(token: JoinToken, audit: AuditEvent): Promise<void>;
  joinToken(id: string): Promise<JoinToken | null>;

  apiToken(id: string): Promise<ApiToken | null>;
  apiTokens(): Promise<readonly ApiToken[]>;
  /** False, and nothing is written, where the name or the id is taken. */
  addApiToken(token: ApiToken, audit: AuditEvent): Promise<boolean>;
  /** False, and nothing is written, where there is none of that name. */
  removeApiToken(name: string, audit: AuditEvent): Promise<boolean>;

  candidates(): Promise<readonly Candidate[]>;
  saveCandidates(change: {
    readonly changed: readonly Candidate[];
    readonly gone: readonly Pick<Candidate, 'node' | 'ekDigest'>[];
  }): Promise<void>;
  approvalFor(node: string): Promise<Approval | null>;
  approvals(): Promise<readonly Approval[]>;
  addApproval(approval: Approval, audit: AuditEvent): Promise<void>;
  /** Gives the names whose binding was `first-use` and is `approval` now. */
  approveFirstUse(
    nodes: readonly Pick<EnrolledNode, 'name' | 'ekDigest'>[],
    audit: (name: string, ekDigest: string) => AuditEvent,
  ): Promise<readonly string[]>;
  /** Whether this key was a node and is not since; what it was as another machine of a cloud does not count. */
  wasRevoked(ekDigest: string, providerId?: string): Promise<boolean>;
  /** Forgets where the node's TPM was in time: what is held against it, and its counters. */
  forgetSequence(ekDigest: string, audit: AuditEvent): Promise<void>;
  /** Frees the name and keeps the record. @throws Rejection `enrolment_pending` where they are not enrolled together */
  revoke(
    node: { readonly name: string; readonly ekDigest: string; readonly at: number; readonly reason: string },
    audit: AuditEvent,
  ): Promise<void>;

  audit(event: AuditEvent): Promise<void>;
  /** In the order of the chain; `after` is the `seq` of the last entry of the page before. */
  auditEntries(page: { after?: number; limit: number }): Promise<readonly AuditEntry[]>;
  /** The latest entry; size 0 and 64 zeros where there is none. */
  auditHead(): Promise<AuditHead>;
  /** `hash` of one entry, null where there is none. */
  auditHash(seq: number): Promise<string | null>;
  /** Has the head signed, and keeps the note; null where the latest one has this size, or the log is empty. */
  addCheckpoint(sign: (head: AuditHead) => string): Promise<string | null>;
  latestCheckpoint(): Promise<string | null>;
  /** In the order in which they were signed; `after` is the `id` of the last one of the page before. */
  checkpoints(page: {
    after?: number;
    limit: number;
  }): Promise<readonly { readonly id: number; readonly note: string }[]>;
  /** By origin, the one that signs now last; its keys oldest first. Empty before the first key. */
  auditOrigins(): Promise<readonly AuditOrigin[]>;
  addAuditKey(origin: string, key: AuditKey, audit: AuditEvent): Promise<void>;
  /**
   * Writes a consistent copy, of mode 0600, while the store is in use.
   * @throws Error where the file exists, or the store lives in memory
   */
  backup(path: string): Promise<void>;
  close(): Promise<void>;
}
