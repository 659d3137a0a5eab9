import type { InitrdManifest } from '../formats/initrd-manifest.ts';
import type { PartName } from '../wire/evidence.ts';
import type { Facts } from '../wire/facts.ts';
import type { PcrValues } from '../wire/pcr-values.ts';
import type { BootProblem } from './boot/boot-problem.ts';
import type { BootState } from './boot/boot-state.ts';
import type { AggregateProblem, BootAggregate } from './ima/boot-aggregate.ts';
import type { ImaProblem, ProvenImaList } from './ima/proven-list.ts';
import type { ListedParts } from './listed-parts.ts';
import type { Quote } from './tpm/attest.ts';
import type { EventLog } from './tpm/event-log.ts';
import type { UserSpaceEvent } from './tpm/user-space-log.ts';

/** For the compiler alone: nobody else can name this class, and its protected member can be neither written nor spread. */
declare class BankSeal {
  protected readonly quoted: never;
}
declare class BootSeal {
  protected readonly measured: never;
}
declare class InitrdSeal {
  protected readonly listed: never;
}
declare class ManifestSeal {
  protected readonly unpacked: never;
}
declare class ProofSeal {
  protected readonly proven: never;
}

/** The values of one PCR bank, as covered by a signed quote: only `checkPcrs` makes one. */
export interface QuotedBank extends PcrValues, BankSeal {
  /** pcrDigest of the quote that covers this bank, hex. */
  readonly pcrDigest: string;
}

/** A firmware log beside PCR values: what replays onto them, and what does not. */
export interface ReplayedBoot {
  /** SHA-256 of the log's exact bytes, hex. */
  readonly digest: string;
  readonly log: EventLog;
  /** What user space measured after the firmware's log, as far as it led to the values; empty where it did not send its log. */
  readonly userSpace?: readonly UserSpaceEvent[];
  readonly problems: readonly BootProblem[];
  /** What the boot was, as far as the values vouch for it. */
  readonly state: BootState;
}

/** A firmware log beside quoted PCRs, so that the TPM vouches for what replays: only `measureBoot` makes one. */
export interface MeasuredBoot extends ReplayedBoot, BootSeal {
  /** SHA-256 of the exact bytes of user space's log, hex; null where none was given. */
  readonly userSpaceDigest: string | null;
  /** SHA-256 of the list of files that say what its loader read, hex, as in `FileSet`; null where none was given. */
  readonly filesDigest: string | null;
  /** What images hold of which the TPM vouches for the digest as that of an initrd, as far as it is known here. */
  readonly initrds: readonly ReadInitrd[];
}

/** What an initrd holds, that lies under the digest of its bytes: only `checkInitrds` makes one. */
export interface ReadInitrd extends Pick<InitrdManifest, 'image'>, InitrdSeal {
  /** It may have to be unpacked: in steps of some milliseconds. */
  whole(): Generator<void, ReadManifest>;
}

/** As it was read of these bytes: only `checkInitrds` makes one. */
export interface ReadManifest extends InitrdManifest, ManifestSeal {}

/** A part of the evidence of which the quote signs the digest. */
export interface ProvenPart {
  /** SHA-256 of its bytes, hex. */
  readonly digest: string;
  /** Null where it was only named. */
  readonly bytes: Buffer | null;
}

/**
 * Evidence that `verify` has checked: only `verify` can make one, and `policy` accepts nothing else.
 * Every value in it was signed by the attestation key, except `facts`, which the node merely says.
 */
export interface Proven extends ProofSeal {
  /** Name of the attestation key that signed, hex. */
  readonly akName: string;
  /** SHA-256 of the endorsement key's TPMT_PUBLIC that the attestation key is enrolled under, hex; null where none is known. */
  readonly ekDigest: string | null;
  readonly banks: readonly QuotedBank[];
  /**
   * SHA-256, hex, over bank, mask and values of the PCRs that boots are measured into (0 to 15 without 10) in all
   * `banks`: where two are equal, so are those.
   */
  readonly measuredDigest: string;
  /** `clock` in milliseconds that the TPM has been powered. */
  readonly clock: Quote['clock'];
  /** The TPM's firmware version, 16 hex digits. */
  readonly firmwareVersion: string;
  readonly facts: Facts | null;
  readonly boot: MeasuredBoot | null;
  /** What IMA's list proves of the boot, or why it proves nothing; null where none came with this answer. */
  readonly aggregate: BootAggregate | AggregateProblem | null;
  /** IMA's list up to the quote; null where nothing of it came, and nothing was proven before in this boot. */
  readonly ima: ProvenImaList | ImaProblem | null;
  /** The other parts, of which the signed facts name the digests. */
  readonly parts: Readonly<Partial<Record<Exclude<PartName, 'boot' | 'userSpace' | 'ima'>, ProvenPart>>>;
  /** What is known of the things that parts list: each vouches for itself by its digest. */
  readonly listed: ListedParts;
}
