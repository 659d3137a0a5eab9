import type { AuditEvent } from '../formats/audit.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import type { TpmClass } from '../formats/tpm-class.ts';
import type { PcrBank } from '../wire/messages.ts';

/** By what a TPM is known: no two nodes have one of these in common. */
export interface TpmKeys {
  /** SHA-256 of the endorsement key's TPMT_PUBLIC, hex: the record's key. */
  readonly ekDigest: string;
  /** SHA-256 of its SubjectPublicKeyInfo, of a point without y, hex. */
  readonly keyDigest: string;
  /** nameAlg || H(public area) of the attestation key, hex. */
  readonly akName: string;
}

/** One TPM that is one node. Times are milliseconds since the epoch. */
export interface EnrolledNode extends TpmKeys {
  /** Unique among records that are not revoked. */
  readonly name: string;
  readonly bound: EnrolmentMethod;
  readonly ekPublicArea: Buffer;
  readonly ekCertificate: Buffer | null;
  readonly akPublicArea: Buffer;
  /** PCR banks that the TPM had when it enrolled; null if none is better than SHA-1, and in records older than this field. */
  readonly banks: readonly PcrBank[] | null;
  /** Maker and kind of the TPM as the root that endorsed it says; null and `unknown` where none did. */
  readonly manufacturer: string | null;
  readonly tpmClass: TpmClass;
  /** SHA-256 of the certificate of the root that vouched for the EK certificate, hex; null: unverified, or none. */
  readonly endorsedBy: string | null;
  /** The machine's id in its cloud, only where `bound` is `cloud`. */
  readonly providerId?: string;
  /** Where it came from, of one that was bound by first use. */
  readonly enrolledFrom?: string;
  readonly enrolledAt: number;
  /**
   * Who vouched for it: `token:alice` by approval, pin or join token; `node`, itself, by first use; `cloud` or `cluster`;
   * null if no record says so.
   */
  readonly enrolledBy: string | null;
  /** It enrolled while the server was on trial: without one it counts for nothing until a person approves its key again. */
  readonly trial?: true;
}

/** From where a proven connection comes, and the version that its agent says. */
export interface ProvenConnection {
  readonly address: string;
  readonly agent: string;
}

/** The record whose name another machine has now. */
export interface Superseded {
  readonly ekDigest: string;
  readonly reason: string;
  readonly audit: AuditEvent;
}

export interface Revocation {
  readonly name: string;
  readonly ekDigest: string;
  readonly at: number;
  readonly reason: string;
}

export interface Pin {
  readonly node: string;
  readonly ekDigest: string;
}

export interface KeptPin extends Pin {
  /** Who brought it; null in records older than this field. The same in a join token. */
  readonly by: string | null;
}

export interface JoinToken {
  readonly id: string;
  /** SHA-256 of the secret, hex. */
  readonly secretHash: string;
  readonly node: string;
  readonly expiresAt: number;
  readonly usedAt: number | null;
  readonly by: string | null;
}

/** A TPM that claimed a name and for which nobody has vouched. Everything here is its own claim. */
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

/** A person approved one enrolment that has not happened yet. */
export interface Approval {
  readonly node: string;
  readonly ekDigest: string;
  readonly by: string;
  readonly at: number;
}

/** A machine that said it has no TPM, as its policy expects. */
export interface MachineWithoutTpm {
  readonly node: string;
  /** Milliseconds since the epoch. */
  readonly seenAt: number;
}

/** Who is who, as it is remembered. A resolved promise of a writing method means: committed and synced to disk. */
export interface EnrolmentStore {
  node(name: string): Promise<EnrolledNode | null>;
  nodeByEk(ekDigest: string): Promise<EnrolledNode | null>;
  /** By name, without those that are archived. */
  nodes(): Promise<readonly EnrolledNode[]>;
  /** Those too: their keys and names are bound as before. */
  everyNode(): Promise<readonly EnrolledNode[]>;
  /** The node that has this key, or this attestation key, under whatever public area. */
  holderOf(keys: Pick<TpmKeys, 'keyDigest' | 'akName'>): Promise<EnrolledNode | null>;
  /** Pairs of nodes that share one TPM: from older versions, as it is refused today. */
  twins(): Promise<readonly { readonly name: string; readonly twin: string }[]>;
  /** Names of those that enrolled during a trial, and that nobody has approved since. */
  ofTrial(): Promise<readonly string[]>;
  /** How many nodes are bound by first use and came from there. */
  firstUsesFrom(source: string): Promise<number>;
  /**
   * @param superseded the name's record until now, revoked together with the enrolment
   * @throws Rejection `ek_already_bound` if a key or the name belongs to another record: uniqueness is the store's.
   */
  enrol(node: EnrolledNode, audit: AuditEvent, joinTokenId?: string, superseded?: Superseded): Promise<void>;
  /** Whether a TPM of one of these keys was a node and is not since; what it was as another machine of a cloud does not count. */
  wasRevoked(keys: TpmKeys, providerId?: string): Promise<boolean>;
  /** Of TPMs that had this name and are no nodes any more, the latest first. */
  revokedKeys(name: string): Promise<readonly string[]>;
  /** Frees the name and keeps the record. @throws Rejection `enrolment_pending` if they are not enrolled together */
  revoke(node: Revocation, audit: AuditEvent): Promise<void>;
  /** Forgets where the node's TPM was in time: what is held against it, and its counters. */
  forgetSequence(ekDigest: string, audit: AuditEvent): Promise<void>;
  /** Keeps the banks of a record in which none are kept yet. */
  fixBanks(ekDigest: string, banks: readonly PcrBank[]): Promise<void>;
  /** From where nodes last came, as far as that is known. */
  seen(): Promise<readonly (ProvenConnection & { readonly name: string })[]>;
  saveSeen(changed: readonly (ProvenConnection & { readonly ekDigest: string })[]): Promise<void>;

  /** In the order in which they were last seen. */
  machinesWithoutTpm(): Promise<readonly MachineWithoutTpm[]>;
  saveMachinesWithoutTpm(change: {
    readonly changed: readonly MachineWithoutTpm[];
    readonly gone: readonly string[];
  }): Promise<void>;

  pins(): Promise<readonly KeptPin[]>;
  pinFor(node: string): Promise<KeptPin | null>;
  addPins(pins: readonly Pin[], audit: AuditEvent): Promise<void>;
  joinToken(id: string): Promise<JoinToken | null>;
  addJoinToken(token: JoinToken, audit: AuditEvent): Promise<void>;
  /** By the time at which they end, the latest first. */
  joinTokens(): Promise<readonly JoinToken[]>;
  /** False, with nothing written, if no unused one has that id. */
  removeJoinToken(id: string, audit: (node: string) => AuditEvent): Promise<boolean>;

  candidates(): Promise<readonly Candidate[]>;
  saveCandidates(change: {
    readonly changed: readonly Candidate[];
    readonly gone: readonly Pick<Candidate, 'node' | 'ekDigest'>[];
  }): Promise<void>;
  approvalFor(node: string): Promise<Approval | null>;
  approvals(): Promise<readonly Approval[]>;
  addApproval(approval: Approval, audit: AuditEvent): Promise<void>;
  /** One that enrolled during a trial is a node from now on, by this approval. @throws Rejection if it is no longer enrolled */
  approveAfterTrial(
    node: Pick<EnrolledNode, 'name' | 'ekDigest' | 'bound'>,
    audit: AuditEvent,
  ): Promise<void>;
  /** Gives the names whose binding was `first-use` and is `approval` now. */
  approveFirstUse(
    nodes: readonly Pick<EnrolledNode, 'name' | 'ekDigest'>[],
    audit: (name: string, ekDigest: string) => AuditEvent,
  ): Promise<readonly string[]>;
}
