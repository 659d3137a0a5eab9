import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { EvidenceRoom } from '../evidence/open.ts';
import type { AuditEvent } from '../formats/audit.ts';
import type { Flaps } from '../formats/flaps.ts';
import type { StorageFault } from '../formats/server-fault.ts';
import type { EarlierRules } from '../in-force/earlier-rules.ts';
import type { InForce } from '../in-force/in-force.ts';
import type { KeyDecision, KeyQuestion } from '../keys/ports.ts';
import type { Sequence } from '../policy/sequence.ts';
import type { PartName } from '../wire/evidence.ts';
import type { GateOpening } from '../wire/gate.ts';
import type { NodeState, Verdict } from '../wire/verdict.ts';
import type { TrustedBy } from './trusted-by.ts';

/** Kept content of an initrd, by the digest of the packed manifest. */
export interface KeptInitrd {
  readonly manifest: string;
  /** Of the packed manifest. */
  readonly bytes: number;
  /** Digests of the image, hex. */
  readonly image: { readonly sha256: string; readonly sha384: string; readonly sha512: string };
  /** Milliseconds since the epoch; noted once a day. */
  readonly usedAt: number;
}

/** Which initrds are known. The manifests themselves lie among what evidence shares. */
export interface InitrdStore {
  all(): Promise<readonly KeptInitrd[]>;
  /** In the place of what was known of this image. */
  keep(kept: KeptInitrd): Promise<void>;
  /** @param sha256 of the image */
  forget(sha256: string): Promise<void>;
}

/** Dependencies of the pipeline; `server.ts` supplies them. */
export interface AttestPorts {
  readonly verdicts: VerdictStore;
  readonly enrolment: Pick<EnrolmentStore, 'forgetSequence' | 'fixBanks' | 'twins'>;
  /** Keeps what was answered, and says how much of it a node may make us keep. */
  readonly evidence: Pick<EvidenceRoom, 'packer' | 'budgetsOf' | 'share' | 'hold' | 'readPart' | 'readPiece'>;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Monotonic milliseconds: deadlines go by it. */
  monotonic(): number;
  /** How long a verdict holds without a new one, in milliseconds. */
  readonly unknownAfter: number;
  /** Equal verdicts are counted, and written as one row in this time, in milliseconds. */
  readonly summaryEvery: number;
  /** Bytes of IMA's list that are kept of one node and boot. */
  readonly imaList: number;
  readonly initrds: InitrdStore;
  /** Initrds that are sent at a time, and bytes that are kept of what is in them. */
  readonly initrdUploads: number;
  readonly initrdManifests: number;
  /** Milliseconds for an answer, and from one challenge of a node to the next. */
  readonly answerWithin: number;
  readonly challengeEvery: number;
  /** Policy and references by which verdicts are made at present. */
  inForce(): InForce;
  /** Policy and references by which they were made earlier. */
  readonly earlier: Pick<EarlierRules, 'known' | 'read' | 'pathsOf'>;
  /** Of this server. */
  readonly version: string;
  /** Has this node asked for evidence now. */
  askAgain(node: string): void;
  /** How it came that a node is silent, as a clause; null if that is not known. */
  silenceOf(node: string): string | null;
  /** The node's labels in its cluster, by which groups may choose. */
  labelsOf(node: string): Readonly<Record<string, string>>;
  /** SMBIOS, as its Node in the cluster says it; null if there is none. */
  systemUuidOf(node: string): string | null;
  /** Seconds spent in one phase of an attestation. */
  duration(phase: 'verify' | 'appraise' | 'record' | 'total', seconds: number): void;
  /** Evidence was answered: with this verdict, which is on disk, or equal to the one that is. */
  answered(verdict: Verdict): void;
  /** A verdict was committed, or accepted as equal to the one before. `from` is the state before it. */
  recorded(entry: HistoryEntry, from: NodeState | null): void;
  /** Decides on the request for a key that came with an answer. */
  decideKey(question: KeyQuestion): Promise<KeyDecision>;
  /** Whether the key of a disk is kept for the node with this endorsement key. */
  hasLease(ekDigest: string): boolean;
  /** A gate is told to let its node go on. */
  gateOpened(opened: OpenedGate): void;
  /** Why nothing can be stored at present; null if all works. */
  storageFault(): StorageFault | null;
  readonly presence: {
    /** Whether the node is missed in the cluster or gone: that it is overdue is shown, and not stored. */
    isAway(name: string): boolean;
    /** An archived node was taken into memory again. */
    recalled(name: string): void;
  };
  /** A verdict that was said could not be written: the node counts as proven when it last was on disk. */
  fault(error: unknown, where: string): void;
}

/** Which gate, and for which boot. */
export interface OpenedGate {
  readonly node: string;
  readonly why: Extract<GateOpening, 'affirmed' | 'observe'>;
  /** Of the kernel, by the node's word; null if it says none. */
  readonly bootId: string | null;
  /** Counts of resets and restarts, as the TPM signs them. */
  readonly boot: string;
  /** Digest of what it showed; null if that was not asked. */
  readonly evidence: string | null;
  readonly policy: string;
}

/** State that the counters of a TPM alone do not show; see policy/sequence.ts. */
export type KeptSequence = Pick<Sequence, 'firstBootId' | 'rewind' | 'replaced' | 'held'>;

/** Fields that change with every answer, even if the verdict does not. Times are milliseconds since the epoch. */
export interface Moved {
  readonly name: string;
  readonly ekDigest: string;
  readonly verifiedAt: number | null;
  readonly expiresAt: number | null;
  /** Counters and clock: the highest that were seen; firmware: the latest. All null: the next ones are the first. */
  readonly resetCount: number | null;
  readonly restartCount: number | null;
  readonly clock: bigint | null;
  readonly firmwareVersion: string | null;
  readonly bootId: string | null;
  readonly sequence: KeptSequence | null;
  readonly kernel: string | null;
  /** SMBIOS, as the node last said it. */
  readonly systemUuid: string | null;
  /** SHA-256 of the latest of each part that this node sent: one that stops sending its boot log hides something. */
  readonly parts: Readonly<Partial<Record<PartName, string>>>;
  /** By aspect, what its judgement wants to know next time: JSON values. */
  readonly memory: Readonly<Record<string, unknown>>;
  /** Digest of the kept evidence that the latest verdict rests on. */
  readonly evidenceDigest: string | null;
  /** Equal verdicts since the latest row of the history, which none of its rows counts yet. */
  readonly repeats: number;
  /** By what it was last found trusted; null: never, or an earlier program did not say. */
  readonly trustedBy: TrustedBy | null;
}

/** Status of a node now; one per enrolled node. */
export interface NodeStatus extends Moved {
  readonly state: NodeState;
  /** The latest verdict, as stored; null before the first. After expiry its reasons hold `evidence_overdue`. */
  readonly verdict: Verdict | null;
  /** When this server first saw the current boot proven. */
  readonly bootSeenAt: number | null;
  /** The current boot did not begin before, as its TPM proves; null if that is not known. */
  readonly bootedAfter: number | null;
  /** When the current boot began, by the node's word within these two; null if it says nothing that can be. */
  readonly bootedAt: number | null;
  /** When it was last found trusted, if it is not now: otherwise that is `verifiedAt`. Null: never. */
  readonly trustedAt: number | null;
  /** `at` of the latest row of the history, as it was asked for; null before the first. */
  readonly recordedAt: number | null;
  /** Digest of the evidence of that row: it stays kept while equal verdicts follow. */
  readonly recordedEvidence: string | null;
  /** Since when it is in this state: its latest transition; null before the first. */
  readonly since: number | null;
}

export interface HistoryEntry {
  readonly node: string;
  readonly at: number;
  readonly verdict: Verdict;
  readonly evidenceDigest: string | null;
  /** True if the state differs from the entry before. */
  readonly transition: boolean;
  /** How many verdicts equal to this one came after `since`, beside this one. Never more than happened. */
  readonly repeats: number;
  /** `at` of the row before where `repeats` are counted; else this row's own. */
  readonly since: number;
  /** Changes since the row before that have none of their own; then `since` is when the first of them was. Absent: none. */
  readonly flaps?: Flaps;
  /** A key of a disk was given or refused by this evidence, which is kept as long as that of a transition. */
  readonly forKey?: true;
}

/** Evidence under its SHA-256, hex. */
export interface KeptBlob {
  readonly digest: string;
  readonly bytes: Buffer;
  /** A policy, or references: it counts in no node's share. */
  readonly isOfServer?: true;
}

/** Everything that one attestation changes, committed together or not at all. */
export interface ChangeRecord {
  readonly status: NodeStatus;
  readonly at: number;
  /**
   * Evidence to keep: the one that the status names is this verdict's own; the others (a boot log, a policy) are
   * shared, and not written again where they are present.
   */
  readonly evidence: readonly KeptBlob[];
  /**
   * History rows in order: usually one; after a reboot `pending (rebooted)` precedes the verdict. None if the change has
   * a row later, together with others: then its evidence is kept as the latest.
   */
  readonly history: readonly Omit<HistoryEntry, 'node'>[];
  readonly audit: readonly AuditEvent[];
}

/** The same verdict as before: it moves the status, and its evidence is the one that is kept as the latest. */
export interface RepeatRecord extends Moved {
  readonly verifiedAt: number;
  readonly evidenceDigest: string;
  readonly evidence: {
    /** Its digest is `evidenceDigest`. */
    readonly own: KeptBlob;
    readonly shared: readonly KeptBlob[];
  };
}

/** Verdicts as they are remembered. A resolved promise of a writing method means: committed and synced to disk. */
export interface VerdictStore {
  /** A row that nobody can read gives a status that is held until a person approves its key again. */
  statuses(): Promise<readonly NodeStatus[]>;
  /** Status of one node on the disk; null if there is none. @throws an error named UnreadableRow */
  status(name: string): Promise<NodeStatus | null>;
  /** The same of an archived node, which `statuses` leaves out, or of one enrolled again of which something is remembered; else null. */
  archivedStatus(name: string): Promise<NodeStatus | null>;
  /** @throws Rejection `enrolment_pending` if the node is not enrolled under this key */
  recordChange(record: ChangeRecord): Promise<void>;
  /** Only over the row that was read; false, with nothing written, if it has changed since. */
  recordAgeing(record: ChangeRecord, read: Pick<NodeStatus, 'state' | 'verifiedAt'>): Promise<boolean>;
  /**
   * Written within a second, the newest of a node only, and never after a later change of it.
   * @throws Rejection `enrolment_pending` if the node is not enrolled under this key
   */
  recordRepeat(record: RepeatRecord): Promise<void>;
  /**
   * Keeps what the evidence of a later record names: megabytes in one transaction hold up all others.
   * @param ekDigest whose share of the disk it counts in
   */
  keepShared(blob: KeptBlob, ekDigest: string, at: number): Promise<void>;
  /** Writes what waits; resolves when all of it is on disk or refused. */
  settled(): Promise<void>;
}
