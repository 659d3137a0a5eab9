import type { Generated } from 'kysely';

/** The tables as Kysely sees them; sqlite/migrations.ts makes them. Times are milliseconds since the epoch. */
export interface Tables {
  readonly nodes: NodeRow;
  readonly statuses: StatusRow;
  readonly proofs: ProofRow;
  readonly history: HistoryRow;
  /** What many verdicts share. Up to schema 8 also what each verdict was made from. */
  readonly evidence: EvidenceRow;
  readonly evidence_uses: EvidenceUseRow;
  readonly answers: AnswerRow;
  /** `references` is a word of SQL. */
  readonly reference_values: ReferenceRow;
  readonly pins: PinRow;
  readonly declared_directory: DeclaredDirectoryRow;
  readonly declared_pins: DeclaredPinRow;
  readonly policies: PolicyRow;
  readonly policy_decisions: PolicyDecisionRow;
  readonly join_tokens: JoinTokenRow;
  readonly api_tokens: ApiTokenRow;
  readonly candidates: CandidateRow;
  readonly approvals: ApprovalRow;
  readonly audit: AuditRow;
  readonly audit_keys: AuditKeyRow;
  readonly checkpoints: CheckpointRow;
  readonly retention: RetentionRow;
  readonly cluster_decisions: ClusterDecisionRow;
  readonly presence: PresenceRow;
  readonly machines_without_tpm: MachineWithoutTpmRow;
  readonly audit_readers: AuditReaderRow;
  readonly initrds: InitrdRow;
  readonly held: HeldRow;
  readonly held_blobs: HeldBlobRow;
  readonly former_names: FormerNameRow;
}

export interface NodeRow {
  readonly ek_digest: string;
  readonly key_digest: string;
  readonly name: string;
  readonly bound: string;
  readonly ek_public_area: Uint8Array;
  readonly ek_certificate: Uint8Array | null;
  readonly ak_public_area: Uint8Array;
  readonly ak_name: string;
  /** JSON: a list of names. */
  readonly banks: string | null;
  readonly manufacturer: string | null;
  readonly tpm_class: string;
  readonly endorsed_by: string | null;
  /** Of the machine in its cloud, where that is the binding. */
  readonly provider_id: string | null;
  readonly enrolled_at: number;
  /** The source of its hello, where it is bound by first use. */
  readonly enrolled_from: string | null;
  /** Who vouched for it; null where no record says so. */
  readonly enrolled_by: string | null;
  /** A revoked record keeps its row and frees its name. */
  readonly revoked_at: number | null;
  readonly revoked_reason: string | null;
  /** 1: it enrolled while the server was on trial, and nobody has approved it since. */
  readonly trial: number;
}

export interface StatusRow {
  readonly ek_digest: string;
  readonly state: string;
  /** JSON */
  readonly verdict: string | null;
  readonly trusted_at: number | null;
  readonly boot_seen_at: number | null;
  readonly booted_after: number | null;
  readonly booted_at: number | null;
  readonly reset_count: number | null;
  readonly restart_count: number | null;
  readonly firmware_version: string | null;
  readonly boot_id: string | null;
  /** JSON */
  readonly sequence: string | null;
  readonly kernel: string | null;
  readonly system_uuid: string | null;
  /** JSON: part -> digest. */
  readonly parts: string;
  /** JSON: aspect -> value. */
  readonly memory: string | null;
  readonly recorded_at: number | null;
  readonly recorded_evidence: string | null;
  readonly since: number | null;
  /** JSON */
  readonly trusted_by: string | null;
  /** Of its latest proven connection: address, and the version that its agent said. No verdict moves them. */
  readonly seen_address: string | null;
  readonly seen_agent: string | null;
}

/** What each verdict moves, also one that is the one before: a row a node, which its TPM keeps when it is no node any more. */
export interface ProofRow {
  readonly ek_digest: string;
  readonly node: string;
  readonly verified_at: number | null;
  readonly expires_at: number | null;
  /** Decimal digits: the TPM's clock is an unsigned 64-bit number, SQLite's integers are signed. */
  readonly clock: string | null;
  readonly repeats: number;
  readonly evidence_digest: string | null;
  /** That evidence; null where a row of the history has it, or it is gone. */
  readonly bytes: Uint8Array | null;
}

interface HistoryRow {
  /** Rises, and is never used again. */
  readonly id: Generated<number>;
  readonly ek_digest: string;
  readonly node: string;
  readonly at: number;
  /** JSON */
  readonly verdict: string;
  readonly evidence_digest: string | null;
  readonly transition: number;
  readonly repeats: number;
  /** Null: its own `at`, as in each row of before there were repeats. */
  readonly since: number | null;
  /** JSON; null: it is of one verdict alone, and of those like it. */
  readonly flaps: string | null;
}

interface EvidenceRow {
  readonly digest: string;
  readonly bytes: Uint8Array;
  readonly stored_at: number;
  /** 1: whoever names it has a row in `held_blobs`. 0: also the server does, or an earlier program stored it. */
  readonly counted: Generated<number>;
}

/** What a verdict was made from; its digest is the `evidence_digest` of that row. */
interface AnswerRow {
  /** `id` of the verdict's row in the history. */
  readonly id: number;
  readonly bytes: Uint8Array;
  /** What it counts in its node's share; 0 in one of an earlier program. */
  readonly held: Generated<number>;
}

/** Bytes of evidence that are kept of one TPM, by its endorsement key; triggers keep the sums. */
interface HeldRow {
  readonly ek_digest: string;
  /** Of `held_blobs`. */
  readonly blobs: number;
  readonly answers: number;
}

/** What a TPM was enrolled as before: its evidence of then is kept under that name. */
interface FormerNameRow {
  readonly ek_digest: string;
  readonly name: string;
}

/** Shared evidence that a node names; each that names it has a row, and counts all of it. */
interface HeldBlobRow {
  readonly ek_digest: string;
  readonly digest: string;
  /** With what it takes beside its own bytes. */
  readonly bytes: number;
}

/** About when a blob was last named by an answer: noted at most once a day. */
interface EvidenceUseRow {
  readonly digest: string;
  readonly at: number;
}

interface ReferenceRow {
  readonly name: string;
  /** JSON */
  readonly body: string;
}

/** A policy that was in force at least once. */
interface PolicyRow {
  /** SHA-256 of the text, hex. */
  readonly digest: string;
  readonly name: string;
  readonly source: string;
  readonly text: string;
  readonly first_at: number;
  /** Since when it was in force the last time. */
  readonly last_at: number;
  /** Null: it is in force. */
  readonly ended_at: number | null;
  readonly came: string;
  /** Who had it come, and why; null where nobody but the file did. */
  readonly by: string | null;
  readonly reason: string | null;
}

interface PolicyDecisionRow {
  readonly kind: 'rollback' | 'allowance';
  /** Of the policy that it is about; of an allowance perhaps only its first digits. */
  readonly digest: string;
  /** Of a rollback: the digest of the text that does not count meanwhile. */
  readonly instead_of: string | null;
  readonly at: number;
  readonly by: string;
  readonly reason: string;
}

interface PinRow {
  readonly node: string;
  readonly ek_digest: string;
  /** Null in one of before it was kept; so in a join token. */
  readonly by: string | null;
}

interface JoinTokenRow {
  readonly id: string;
  readonly secret_hash: string;
  readonly node: string;
  readonly expires_at: number;
  readonly used_at: number | null;
  readonly by: string | null;
}

interface ApiTokenRow {
  readonly id: string;
  readonly name: string;
  readonly role: string;
  readonly secret_hash: string;
  readonly created_by: string;
  readonly created_at: number;
  readonly expires_at: number | null;
}

interface CandidateRow {
  readonly node: string;
  readonly ek_digest: string;
  readonly ek_public_area: Uint8Array;
  readonly certificate_subject: string | null;
  readonly manufacturer: string | null;
  readonly address: string;
  readonly first_seen: number;
  readonly last_seen: number;
  readonly attempts: number;
}

interface ApprovalRow {
  readonly node: string;
  readonly ek_digest: string;
  readonly by: string;
  readonly at: number;
}

export interface AuditRow {
  readonly seq: number;
  readonly at: number;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly code: string | null;
  /** JSON */
  readonly detail: string;
  readonly prev: string;
  readonly hash: string;
}

export interface AuditKeyRow {
  /** Counts from 1. */
  readonly position: number;
  readonly origin: string;
  readonly public_key: string;
  readonly signature: string | null;
}

interface CheckpointRow {
  /** Counts from 1, in the order in which they were signed. */
  readonly id: number;
  readonly size: number;
  /** The signed note. */
  readonly note: string;
}

/** Up to which row of a node's history evidence was erased. */
interface RetentionRow {
  readonly node: string;
  readonly kind: 'all' | 'transitions';
  readonly at: number;
}

/** What a person decided about marks. */
interface ClusterDecisionRow {
  readonly kind: 'pause' | 'latch' | 'hold' | 'exemption';
  /** The node of an exemption; group, code and value of a hold; `policy` beside the latch; else empty. */
  readonly key: string;
  /** JSON */
  readonly body: string;
}

/** Whether a node's Node is in the cluster, which it was at some time. Without a row nobody misses it. */
interface PresenceRow {
  readonly ek_digest: string;
  /** Since when the cluster has no Node of its name; written when it is gone. */
  readonly missing_since: number | null;
  readonly gone_at: number | null;
  readonly archived_at: number | null;
}

/** A machine that said it has no TPM, as its policy expects. */
interface MachineWithoutTpmRow {
  readonly node: string;
  readonly seen_at: number;
}

/** Up to which entry each of those is done who read the audit log one by one. */
interface AuditReaderRow {
  readonly reader: string;
  readonly seq: number;
}

/** An image of which it is known what is in it: its digests, and that of the manifest among the evidence. */
interface InitrdRow {
  readonly sha256: string;
  readonly sha384: string;
  readonly sha512: string;
  readonly manifest: string;
  /** Of the manifest. */
  readonly bytes: number;
  readonly used_at: number;
}

/** Which signed directory is in force. One row at most. */
interface DeclaredDirectoryRow {
  readonly id: 1;
  readonly serial: number;
  /** SHA-256 of its manifest, hex. */
  readonly digest: string;
  /** Name of the key that signed it. */
  readonly key: string;
  readonly at: number;
  /** Text of its policy; null where it has none. */
  readonly policy: string | null;
}

/** What the list of pins of that directory says, whatever became of the pin. */
interface DeclaredPinRow {
  readonly node: string;
  readonly ek_digest: string;
}
