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
  /** When its key was last given out, and when that was last said to be done with; null: never. */
  readonly releasedAt: number | null;
  readonly cappedAt: number | null;
}

/** A volume with its secrets. */
export interface StoredVolume extends Volume {
  readonly key: WrappedSecret;
  /** Null once the volume is formatted: from then on only the escrow has it. */
  readonly recovery: WrappedSecret | null;
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
}

/** The way into a volume without the server; each part encrypted by age. */
export interface Escrow {
  readonly recovery: Buffer;
  /** The header as the node made it; null until it did. */
  readonly header: Buffer | null;
}

/** A header as a node made it. */
export interface KeptHeader extends Pick<Volume, 'uuid' | 'headerDigest'> {
  /** The header, encrypted by age. */
  readonly escrow: Buffer;
  /** The reference with which the node's disk is compared once the volume is open. */
  readonly reference: Reference;
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
}

export type Delivered =
  | {
      readonly leaseId: string;
      readonly deliveries: number;
      /** This TPM had keys before, and none of those that are known went to this address. */
      readonly isNewAddress: boolean;
    }
  | LeaseEnd;

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

/** Volumes, their keys, and which boots got them. A resolved promise of a writing method means: committed and synced to disk. */
export interface LeaseStore {
  /** By node and name. */
  volumes(): Promise<readonly Volume[]>;
  volume(uuid: string): Promise<StoredVolume | null>;
  /** False, with nothing written, if the node has a volume of that name or at that path, or the UUID is another volume's. */
  add(volume: NewVolume, audit: AuditEvent): Promise<boolean>;
  /** False, with nothing written, if there is none. */
  remove(uuid: string, audit: AuditEvent): Promise<boolean>;
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
   * Stores the reference of a volume, unless there is one of its name.
   * @returns whether there was one to store: it is kept until this was called
   * @throws Rejection `too_large`
   */
  enrol(uuid: string, audit: (reference: Reference) => AuditEvent): Promise<boolean>;
  /** Secrets that another wrapping key holds: at most so many volumes. */
  wrappedByOthers(current: string, most: number): Promise<readonly StoredVolume[]>;
  /** Replaces the secrets of a volume, unless they changed since they were read. */
  rewrap(read: StoredVolume, by: Pick<StoredVolume, 'key' | 'recovery'>): Promise<boolean>;
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
