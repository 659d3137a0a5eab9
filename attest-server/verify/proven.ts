import type { PartName } from '../wire/evidence.ts';
import type { Facts } from '../wire/facts.ts';
import type { BootCap } from './boot-cap.ts';
import type { AggregateProblem, BootAggregate } from './ima/boot-aggregate.ts';
import type { ImaProblem, ProvenImaList } from './ima/proven-list.ts';
import type { ListedParts } from './listed-parts.ts';
import type { MeasuredBoot } from './measured-boot.ts';
import type { QuotedBank } from './quote.ts';
import type { Quote } from './tpm/attest.ts';

/** For the compiler alone: nobody else can name this class, and its protected member can be neither written nor spread. */
declare class ProofSeal {
  protected readonly proven: never;
}

/** A part of the evidence of which the quote signs the digest. */
export interface ProvenPart {
  /** SHA-256 of its bytes, hex. */
  readonly digest: string;
  /** Null if it was only named. */
  readonly bytes: Buffer | null;
}

/**
 * Evidence that `verify` has checked: only `verify` can make one, and `policy` accepts nothing else.
 * Every value in it was signed by the attestation key, except `facts`, which the node merely says.
 */
export interface Proven extends ProofSeal {
  /** Name of the attestation key that signed, hex. */
  readonly akName: string;
  /** SHA-256 of the endorsement key's TPMT_PUBLIC that the attestation key is enrolled under, hex; null if none is known. */
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
  /** Whether the boot is capped, by what its logs explain of PCR 15; of one without a log, if that holds nothing else. */
  readonly cap: BootCap;
  /** The proof of the boot by IMA's list, or why it proves nothing; null if none came with this answer. */
  readonly aggregate: BootAggregate | AggregateProblem | null;
  /** IMA's list up to the quote; null if nothing of it came, and nothing was proven before in this boot. */
  readonly ima: ProvenImaList | ImaProblem | null;
  /** The other parts, of which the signed facts name the digests. */
  readonly parts: Readonly<Partial<Record<Exclude<PartName, 'boot' | 'userSpace' | 'ima'>, ProvenPart>>>;
  /** The things that parts list, as far as they are known: each vouches for itself by its digest. */
  readonly listed: ListedParts;
}
