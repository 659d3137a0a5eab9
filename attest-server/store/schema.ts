import type { Generated } from 'kysely';

/** The tables as Kysely knows them; sqlite/migrations.ts makes them. Times are milliseconds since the epoch. */
export interface Tables {
  readonly nodes: NodeRow;
  readonly statuses: StatusRow;
  readonly proofs: ProofRow;
  readonly history: HistoryRow;
  /** Evidence that verdicts share. Up to schema 8 also the answers behind single verdicts. */
  readonly evidence: EvidenceRow;
  readonly evidence_uses: EvidenceUseRow;
  readonly answers: AnswerRow;
  /** Not `references`, which is a keyword of SQL. */
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
  readonly volumes: VolumeRow;
  readonly leases: LeaseRow;
  readonly key_refusals: KeyRefusalRow;
  readonly key_addresses: KeyAddressRow;
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
  /** Id of the machine in its cloud, if the node is bound to that. */
  readonly provider_id: string | null;
  readonly enrolled_at: number;
  /** Source address of its hello, if it is bound by first use. */
  readonly enrolled_from: string | null;
  /** Who vouched for it; null if no record says so. */
  readonly enrolled_by: string | null;
  /** A revoked record keeps its row and frees its name. */
  readonly revoked_at: number | null;
  readonly revoked_reason: string | null;
  /** 1 if it enrolled while the server was on trial, and nobody has approved it since. */
  readonly trial: number;
}

export interface StatusRow {
  readonly ek_digest: string;
  readonly state: string;
  /** JSON. */
  readonly verdict: string | null;
  readonly trusted_at: number | null;
  readonly boot_seen_at: number | null;
  readonly booted_after: number | null;
  readonly booted_at: number | null;
  readonly reset_count: number | null;
  readonly restart_count: number | null;
  readonly firmware_version: string | null;
  readonly boot_id: string | null;
  /** JSON. */
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
  /** JSON. */
  readonly trusted_by: string | null;
  /** Address and agent version of its latest proven connection. Verdicts do not change them. */
  readonly seen_address: string | null;
  readonly seen_agent: string | null;
}

/** Columns that every verdict updates, even a repeated one. A TPM keeps its row after its node is revoked. */
export interface ProofRow {
  readonly ek_digest: string;
  readonly node: string;
  readonly verified_at: number | null;
  readonly expires_at: number | null;
  /** Decimal digits: the TPM's clock is an unsigned 64-bit number, SQLite's integers are signed. */
  readonly clock: string | null;
  readonly repeats: number;
  readonly evidence_digest: string | null;
  /** That evidence; null if it is kept with a row of the history, or erased. */
  readonly bytes: Uint8Array | null;
}

interface HistoryRow {
  /** Rises, and is never reused. */
  readonly id: Generated<number>;
  readonly ek_digest: string;
  readonly node: string;
  readonly at: number;
  /** JSON. */
  readonly verdict: string;
  readonly evidence_digest: string | null;
  readonly transition: number;
  readonly repeats: number;
  /** Null: the same as `at`, as in all rows from before repeats were counted. */
  readonly since: number | null;
  /** JSON; null if the row is about one verdict and its repeats. */
  readonly flaps: string | null;
  /** 1: a key of a disk was given or refused by this evidence. */
  readonly for_key: number;
}

interface EvidenceRow {
  readonly digest: string;
  readonly bytes: Uint8Array;
  readonly stored_at: number;
  /** 1: all that name it have a row in `held_blobs`. 0: the server names it too, or an earlier version stored it. */
  readonly counted: Generated<number>;
}

/** The answer behind a verdict; its digest is the `evidence_digest` of that row. */
interface AnswerRow {
  /** `id` of the verdict's row in the history. */
  readonly id: number;
  readonly bytes: Uint8Array;
  /** Bytes that it counts in its node's share; 0 if an earlier version stored it. */
  readonly held: Generated<number>;
}

/** Bytes of evidence that are kept of one TPM, by its endorsement key; triggers update the sums. */
interface HeldRow {
  readonly ek_digest: string;
  /** Sum over `held_blobs`. */
  readonly blobs: number;
  readonly answers: number;
}

/** An earlier name of a TPM: its evidence of that time is kept under it. */
interface FormerNameRow {
  readonly ek_digest: string;
  readonly name: string;
}

/** Shared evidence that a node names. Each node that does has a row, and counts all of it. */
interface HeldBlobRow {
  readonly ek_digest: string;
  readonly digest: string;
  /** With the overhead of its row. */
  readonly bytes: number;
}

/** When an answer last named a blob, noted at most once a day. */
interface EvidenceUseRow {
  readonly digest: string;
  readonly at: number;
}

interface ReferenceRow {
  readonly name: string;
  /** JSON. */
  readonly body: string;
}

/** A policy that is or was active. */
interface PolicyRow {
  /** SHA-256 of the text, hex. */
  readonly digest: string;
  readonly name: string;
  readonly source: string;
  readonly text: string;
  readonly first_at: number;
  /** When it last became active. */
  readonly last_at: number;
  /** Null: it is active. */
  readonly ended_at: number | null;
  readonly came: string;
  /** The person who activated it, and why; null if only the file changed. */
  readonly by: string | null;
  readonly reason: string | null;
}

interface PolicyDecisionRow {
  readonly kind: 'rollback' | 'allowance';
  /** Digest of the policy concerned; for an allowance perhaps only its first digits. */
  readonly digest: string;
  /** For a rollback: digest of the text that is not active meanwhile. */
  readonly instead_of: string | null;
  readonly at: number;
  readonly by: string;
  readonly reason: string;
}

interface PinRow {
  readonly node: string;
  readonly ek_digest: string;
  /** Null if an earlier version wrote the row, as in join tokens. */
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
  /** JSON. */
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

/** The last row of a node's history up to which evidence was erased. */
interface RetentionRow {
  readonly node: string;
  readonly kind: 'all' | 'transitions';
  readonly at: number;
}

/** A decision of a person about marks. */
interface ClusterDecisionRow {
  readonly kind: 'pause' | 'latch' | 'hold' | 'exemption';
  /** The node of an exemption; group, code and value of a hold; `policy` for the policy of the latch; else empty. */
  readonly key: string;
  /** JSON. */
  readonly body: string;
}

/** Presence of a Node that the cluster had at some time. A node without a row cannot be missing. */
interface PresenceRow {
  readonly ek_digest: string;
  /** Since when the cluster has no Node of its name; written when the node counts as gone. */
  readonly missing_since: number | null;
  readonly gone_at: number | null;
  readonly archived_at: number | null;
}

/** A machine that reported having no TPM, as its policy expects. */
interface MachineWithoutTpmRow {
  readonly node: string;
  readonly seen_at: number;
}

/** Position of a reader of the audit log: the last entry that it is done with. */
interface AuditReaderRow {
  readonly reader: string;
  readonly seq: number;
}

/** An initrd with known content: digests of the image, and of its manifest among the evidence. */
interface InitrdRow {
  readonly sha256: string;
  readonly sha384: string;
  readonly sha512: string;
  readonly manifest: string;
  /** Size of the manifest. */
  readonly bytes: number;
  readonly used_at: number;
}

/** The active signed directory. One row at most. */
interface DeclaredDirectoryRow {
  readonly id: 1;
  readonly serial: number;
  /** SHA-256 of its manifest, hex. */
  readonly digest: string;
  /** Name of the key that signed it. */
  readonly key: string;
  readonly at: number;
  /** Text of its policy; null if it has none. */
  readonly policy: string | null;
}

/** A line in the pin list of that directory, whatever became of the pin. */
interface DeclaredPinRow {
  readonly node: string;
  readonly ek_digest: string;
}

/** A volume that one TPM may unlock. Its secrets are under a wrapping key that is not in this database. */
export interface VolumeRow {
  readonly uuid: string;
  readonly node: string;
  readonly ek_digest: string;
  readonly name: string;
  readonly path: string;
  readonly key_id: string;
  readonly wrapped_key: Uint8Array;
  /** Null, as the next one, once the volume is formatted. */
  readonly recovery_key_id: string | null;
  readonly wrapped_recovery: Uint8Array | null;
  /** Encrypted by age. */
  readonly recovery_escrow: Uint8Array;
  readonly header_escrow: Uint8Array | null;
  readonly header_digest: string | null;
  /** As JSON, from the header on until it is stored as one. */
  readonly reference: string | null;
  readonly created_at: number;
  readonly created_by: string;
  readonly formatted_at: number | null;
  /** Null, as the next three, unless its key is being replaced. */
  readonly rotating_since: number | null;
  readonly rotating_by: string | null;
  readonly next_key_id: string | null;
  readonly next_wrapped_key: Uint8Array | null;
  /** Of the header that the next key opens: null, as the next one, until its node made that. */
  readonly next_header_digest: string | null;
  readonly next_header_escrow: Uint8Array | null;
  /** When its key was taken away, by whom and why; null: it was not. */
  readonly revoked_at: number | null;
  readonly revoked_by: string | null;
  readonly revoked_because: string | null;
  /** SHA-256 of the recovery keyslot's key material, hex; null: its header came before schema 32. */
  readonly recovery_slot_digest: string | null;
  /** As JSON, age recipients: of `recovery_escrow`, and of the two headers. Null: it was encrypted before schema 32, or is not there. */
  readonly recovery_recipients: string | null;
  readonly header_recipients: string | null;
  readonly next_header_recipients: string | null;
  /** As JSON: `volumeKeys` in the memory of its node (policy/volume-keys.ts) when that was revoked last. */
  readonly keys_memory: string | null;
}

/** Deliveries of one volume's key to one boot of one TPM. */
interface LeaseRow {
  readonly lease_id: string;
  readonly ek_digest: string;
  readonly volume: string;
  readonly reset_count: number;
  readonly deliveries: number;
  /** Null: before schema 32. */
  readonly first_delivered_at: number | null;
  readonly delivered_at: number;
  readonly capped_at: number | null;
}

/** Of the latest boot of a TPM that asked: for each volume of its own, and one for what is none. */
interface KeyRefusalRow {
  readonly ek_digest: string;
  /** As it was asked for. */
  readonly volume: string;
  readonly reset_count: number;
  readonly code: string;
  readonly text: string;
  readonly at: number;
}

/** An address from which a TPM got a key, and when it last did so. */
interface KeyAddressRow {
  readonly ek_digest: string;
  readonly address: string;
  readonly at: number;
}
