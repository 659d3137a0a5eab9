import type { AuditEntry, AuditEvent } from '../protocol/audit.ts';
import type { Reference } from '../protocol/reference.ts';
import type { NodeState, Verdict } from '../protocol/verdict.ts';

/** By which word an endorsement key became a node (contract.md, "Identity and enrolment"). */
export type Bound = 'pin' | 'join-token' | 'approval' | 'cloud' | 'vendor' | 'first-use';

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
  readonly manufacturer: string | null;
  readonly enrolledAt: number;
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
  readonly resetCount: number | null;
  readonly restartCount: number | null;
  readonly clock: bigint | null;
  readonly firmwareVersion: string | null;
  readonly bootId: string | null;
  readonly kernel: string | null;
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

export type { AuditEntry, AuditEvent };

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

/** Everything that one attestation changes, committed together or not at all. */
export interface VerdictRecord {
  readonly status: NodeStatus;
  readonly at: number;
  /** Content-addressed evidence to keep: the boot log, the bundle. Present ones are not written again. */
  readonly evidence: readonly { readonly digest: string; readonly bytes: Buffer }[];
  /** History rows in order: usually one; after a reboot `pending (rebooted)` precedes the verdict. */
  readonly history: readonly Omit<HistoryEntry, 'node'>[];
  readonly audit: readonly AuditEvent[];
}

/** What we remember. A resolved promise of a writing method means: committed and synced to disk. */
export interface Store {
  node(name: string): Promise<EnrolledNode | null>;
  nodeByEk(ekDigest: string): Promise<EnrolledNode | null>;
  /** @throws Rejection `ek_already_bound` where the key or the name belongs to another record: uniqueness is the store's. */
  enrol(node: EnrolledNode, audit: AuditEvent, joinTokenId?: string): Promise<void>;
  /** A new attestation key of the same endorsement key. */
  replaceAttestationKey(
    ekDigest: string,
    akPublicArea: Buffer,
    akName: string,
    audit: AuditEvent,
  ): Promise<void>;

  status(name: string): Promise<NodeStatus | null>;
  statuses(): Promise<readonly NodeStatus[]>;
  /** Enrolled nodes by name, for lists. */
  nodes(): Promise<readonly EnrolledNode[]>;
  recordVerdict(record: VerdictRecord): Promise<void>;
  /** Newest first; no two rows of a node share their `at`. `before` is the `at` of the last row of the page before, exclusive. */
  history(name: string, page: { limit: number; before?: number }): Promise<readonly HistoryEntry[]>;

  evidence(digest: string): Promise<Buffer | null>;

  references(): Promise<readonly Reference[]>;
  /** @throws Error where the name exists. */
  addReference(reference: Reference, audit: AuditEvent): Promise<void>;

  pins(): Promise<readonly Pin[]>;
  pinFor(node: string): Promise<Pin | null>;
  addPins(pins: readonly Pin[], audit: AuditEvent): Promise<void>;
  addJoinToken(token: JoinToken, audit: AuditEvent): Promise<void>;
  joinToken(id: string): Promise<JoinToken | null>;

  audit(event: AuditEvent): Promise<void>;
  /** In the order of the chain; `after` is the `seq` of the last entry of the page before. */
  auditEntries(page: { after?: number; limit: number }): Promise<readonly AuditEntry[]>;
  close(): Promise<void>;
}
