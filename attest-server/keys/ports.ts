import type { AuditEvent } from '../formats/audit.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import type { Reference } from '../formats/reference.ts';
import type { PolicyGroup } from '../policy/policy.ts';
import type { Proven } from '../verify/proven.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { Verdict } from '../wire/verdict.ts';

/** A TPM that is a node. */
export interface KeyHolder {
  readonly name: string;
  readonly ekDigest: string;
  /** Absent: nobody vouches for it. */
  readonly bound?: EnrolmentMethod;
}

/** A secret as it is stored: under which wrapping key, and its ciphertext. */
export interface WrappedSecret {
  /** Of the wrapping key. */
  readonly keyId: string;
  readonly bytes: Buffer;
}

/** The facts that a wrapped secret is bound to: beside other ones it cannot be unwrapped. */
export interface WrapContext {
  readonly purpose: 'volume' | 'recovery';
  readonly node: string;
  /** SHA-256 of the endorsement key's public area, hex. */
  readonly ekDigest: string;
  /** LUKS UUID. */
  readonly volume: string;
}

/** The wrapping keys of disk keys, the newest first. */
export interface WrappingKeys {
  /** Id of the one that wraps. */
  readonly current: string;
  /** Of all that unwrap, the newest first. */
  readonly ids: readonly string[];
  /**
   * Reads the file again. The keys stay as they are where it has a fault, or lacks one of these.
   * @throws Error as at a start
   */
  reread(needed: readonly string[]): void;
  wrap(secret: Buffer, context: WrapContext): WrappedSecret;
  /**
   * In memory of its own, which the caller wipes.
   * @throws Error naming the id of a wrapping key that is not there; or that the secret is not what was wrapped for this context
   */
  unwrap(wrapped: WrappedSecret, context: WrapContext): Buffer;
}

/** A volume that one node may unlock. Times are milliseconds since the epoch. */
export interface Volume {
  readonly node: string;
  readonly ekDigest: string;
  /** LUKS UUID, lower case. */
  readonly uuid: string;
  /** As the node calls it: the name in crypttab. */
  readonly name: string;
  /** Where it is mounted. */
  readonly path: string;
  /** Digest of its header (wire/luks-header.ts); null before its node made one. */
  readonly headerDigest: string | null;
  readonly formattedAt: number | null;
  readonly createdAt: number;
  readonly createdBy: string;
  readonly recipients: EscrowRecipients;
  /** By whom and why its key is given to nobody; null: it is not taken away. */
  readonly revoked: { readonly at: number; readonly by: string; readonly because: string } | null;
  /** When its key was last given out, and when that was last said to be done with; null: never. */
  readonly releasedAt: number | null;
  readonly cappedAt: number | null;
  /** Null unless its key is being replaced. */
  readonly rotation: Rotation | null;
}

/** To whom each part of a volume's escrow is encrypted, by age; null: there is none, or it is older than schema 32. */
export interface EscrowRecipients {
  readonly passphrase: readonly string[] | null;
  readonly header: readonly string[] | null;
}

/** The replacement of a volume's key by the next one, which the node carries out when it boots. */
export interface Rotation {
  readonly since: number;
  readonly by: string;
  /** Digest of the header that the next key opens; null before the node made it: nothing is written to the disk then. */
  readonly headerDigest: string | null;
}

/** A volume with its secrets. */
export interface StoredVolume extends Volume {
  readonly key: WrappedSecret;
  /** While its key is being replaced. */
  readonly nextKey: WrappedSecret | null;
  /** Null once the volume is formatted: from then on only the escrow has it. */
  readonly recovery: WrappedSecret | null;
  /** SHA-256 of the key material of the recovery keyslot, hex; null if no header came since servers keep it. */
  readonly recoverySlotDigest: string | null;
  /** A reference is kept that is not stored as one yet. */
  readonly isToEnrol: boolean;
}

/** A volume as it is made. */
export interface NewVolume
  extends Pick<
    StoredVolume,
    'node' | 'ekDigest' | 'uuid' | 'name' | 'path' | 'createdAt' | 'createdBy' | 'key'
  > {
  readonly recovery: WrappedSecret;
  /** The recovery passphrase, encrypted by age to the recipients of the policy. */
  readonly recoveryEscrow: Buffer;
  readonly recipients: readonly string[];
}

/** The way into a volume without the server; each part encrypted by age. */
export interface Escrow {
  readonly recovery: Buffer;
  /** The header as the node made it; null until it did. */
  readonly header: Buffer | null;
}

/** A header as a node made it. */
export interface KeptHeader extends Pick<Volume, 'uuid'> {
  readonly headerDigest: string;
  readonly recoverySlotDigest: string;
  /** The header, encrypted by age. */
  readonly escrow: Buffer;
  /** Of age, who can read it. */
  readonly recipients: readonly string[];
  /** The reference with which the node's disk is compared once the volume is open. */
  readonly reference: Reference;
}

/** The header that the next key of a volume opens, as its node made it. */
export interface NextHeader extends Omit<KeptHeader, 'reference'> {
  /** Of the boot that made it. */
  readonly leaseId: string;
}

/** A change of the reference of this name; none where it was removed. */
export interface ReferenceAmendment {
  readonly name: string;
  readonly amend: (reference: Reference) => Reference;
}

/** A rotation that begins. */
export interface NewRotation extends Pick<Rotation, 'since' | 'by'> {
  readonly nextKey: WrappedSecret;
  /** For another TPM than the one that the volume had: it is the node now. */
  readonly rebound: { readonly ekDigest: string; readonly key: WrappedSecret } | null;
}

/** One boot that asks for the key of a volume. */
export interface Delivery {
  readonly ekDigest: string;
  readonly volume: string;
  readonly resetCount: number;
  readonly at: number;
  /** From where it asks; null if that is not known. */
  readonly address: string | null;
  /** For the first delivery of this boot; later ones have that one's. 16 bytes, hex. */
  readonly leaseId: string;
  /** How often one boot may ask. */
  readonly most: number;
  /** The rotation whose next key is given out with it, by its `since`; null: none is. */
  readonly rotatingSince: number | null;
}

export type Delivered =
  | {
      readonly leaseId: string;
      readonly deliveries: number;
      /** This TPM had keys before, and none of those that are known went to this address. */
      readonly isNewAddress: boolean;
    }
  | LeaseEnd
  /** Meanwhile the volume was removed, or its key revoked, or it is replaced by another one than was read. */
  | 'key_withheld';

/** Its disks are open, or it had all deliveries. */
export type LeaseEnd = 'lease_consumed' | 'lease_exhausted';

/** A boot that asked for the key of a volume and got none. */
export interface RefusedBoot {
  readonly ekDigest: string;
  /** LUKS UUID, as it was asked for: maybe of another node's volume, or of none. */
  readonly volume: string;
  readonly resetCount: number;
  readonly code: ReasonCode;
  /** One sentence for a person. */
  readonly text: string;
  /** Since when this is the latest answer to it; milliseconds since the epoch. */
  readonly at: number;
}

export interface RewrappedVolume {
  readonly read: StoredVolume;
  readonly by: Pick<StoredVolume, 'key' | 'nextKey' | 'recovery'>;
}

/** Volumes, their keys, and which boots got them. A resolved promise of a writing method means: committed and synced to disk. */
export interface LeaseStore {
  /** By node and name. */
  volumes(): Promise<readonly Volume[]>;
  volume(uuid: string): Promise<StoredVolume | null>;
  /** False, with nothing written, if the node has a volume of that name or at that path, or the UUID is another volume's. */
  add(volume: NewVolume, audit: AuditEvent): Promise<boolean>;
  /** False, with nothing written, if there is none. */
  remove(uuid: string, audit: AuditEvent): Promise<boolean>;
  /** From the next delivery on. False, with nothing written, if there is no such volume, or it is so already. */
  revoke(uuid: string, revoked: Volume['revoked'], audit: AuditEvent): Promise<boolean>;
  /** Null, with nothing written, if there is no such volume. */
  escrow(uuid: string, audit: AuditEvent): Promise<Escrow | null>;
  /** Why this boot may have no more deliveries; null if it may. */
  spent(boot: Pick<Delivery, 'ekDigest' | 'volume' | 'resetCount' | 'most'>): Promise<LeaseEnd | null>;
  /** Counts one delivery, if the boot may have one more; nothing is counted or said otherwise. */
  deliver(
    delivery: Delivery,
    audit: (delivered: Exclude<Delivered, string>) => AuditEvent,
  ): Promise<Delivered>;
  /**
   * Keeps why the latest boot of a TPM got no key: for each of its volumes the latest refusal, and one for what is no volume of
   * it. A delivery ends that of its volume; another boot, and the end of the node, all.
   * @param audit null: it is no news
   */
  refuse(refused: RefusedBoot, audit: AuditEvent | null): Promise<void>;
  /** By TPM, the earliest first. @param ekDigest none: of all */
  refusals(ekDigest?: string): Promise<readonly RefusedBoot[]>;
  /** Ends the lease; false if this TPM has none of that id, or it has ended. */
  consume(
    lease: { readonly leaseId: string; readonly ekDigest: string; readonly at: number },
    audit: AuditEvent,
  ): Promise<boolean>;
  /** The volume that this lease of this TPM is for; null if it has none. */
  leased(lease: { readonly leaseId: string; readonly ekDigest: string }): Promise<StoredVolume | null>;
  /** Keeps the header of a volume that is being formatted, and the reference of it; false if it is formatted already. */
  keepHeader(header: KeptHeader): Promise<boolean>;
  /** Ends the formatting; false if that has ended before, or another header is kept. */
  formatted(
    volume: Pick<Volume, 'uuid' | 'headerDigest' | 'formattedAt'>,
    audit: AuditEvent,
  ): Promise<boolean>;
  /**
   * Begins to replace the key of a formatted volume, or goes on with that for another TPM; false, with nothing written, if the
   * volume changed since it was read, or its new TPM has one of that name.
   */
  rotate(read: StoredVolume, rotation: NewRotation, audit: AuditEvent): Promise<boolean>;
  /** Forgets the next key; false if there is none, or a header with it is kept: it may be on the disk. */
  cancelRotation(uuid: string, audit: AuditEvent): Promise<boolean>;
  /**
   * Keeps the header that the next key opens, beside the present one.
   * @returns false if its key is not being replaced, or that began after this boot first got its key: it may have an earlier next key
   * @throws what the change throws, with nothing written; Rejection `too_large`
   */
  keepNextHeader(header: NextHeader, change: ReferenceAmendment): Promise<boolean>;
  /** The next key and its header take the place of the present ones; false if another header is kept. */
  rotated(
    volume: Pick<Volume, 'uuid' | 'headerDigest'>,
    change: ReferenceAmendment,
    audit: AuditEvent,
  ): Promise<boolean>;
  /**
   * Stores the reference of a volume, unless there is one of its name.
   * @returns whether there was one to store: it is kept until this was called
   * @throws Rejection `too_large`
   */
  enrol(uuid: string, audit: (reference: Reference) => AuditEvent): Promise<boolean>;
  /** Secrets that another wrapping key holds: of at most so many volumes, by UUID, after that one. */
  wrappedByOthers(current: string, after: string, most: number): Promise<readonly StoredVolume[]>;
  /** How many volumes need each wrapping key, by its id. */
  wrappedBy(): Promise<ReadonlyMap<string, number>>;
  /**
   * Replaces the secrets of volumes whose secrets did not change since they were read.
   * @param event what the audit log says of so many
   * @returns of how many
   */
  rewrap(changes: readonly RewrappedVolume[], event: (volumes: number) => AuditEvent): Promise<number>;
}

/** An answer that asks for a key, as it was proven and judged. */
export interface KeyQuestion {
  readonly node: KeyHolder & { readonly ekPublicArea: Buffer };
  /** The exact bytes of the request, which its quote signs. */
  readonly keyRequest: Buffer;
  readonly nonce: Buffer;
  /** Where its connection comes from. */
  readonly address: string | null;
  readonly proven: Proven;
  /** This boot was seen capped, by this answer or an earlier one. */
  readonly wasCapped: boolean;
  readonly verdict: Verdict;
  readonly group: Pick<PolicyGroup, 'name' | 'keys' | 'rules'>;
}

/** The frame of a release, or why there is none. */
export type KeyAnswer = { readonly release: Buffer } | { readonly refusal: ReasonCode };

/** A decision that is not carried out yet. */
export interface KeyDecision {
  /** Whether its evidence must be kept: all but a refusal that repeats the one before. */
  readonly isNews: boolean;
  /** Counts, and then gives. @param evidence digest of what it rests on, which is on disk. */
  carryOut(evidence: string): Promise<KeyAnswer>;
}
