import type { Facts } from '../protocol/facts.ts';
import type { PcrBank } from '../protocol/messages.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import type { BootState } from './boot/boot-state.ts';
import type { Quote } from './tpm/attest.ts';
import type { EventLog } from './tpm/event-log.ts';
import type { UserSpaceEvent } from './tpm/user-space-log.ts';

declare const proven: unique symbol;

/** The values of one PCR bank, as covered by a verified quote. */
export interface QuotedBank {
  readonly bank: PcrBank;
  /** Bit i is set where PCR i was quoted. */
  readonly mask: number;
  /** The quoted values in ascending order of their PCR, concatenated. */
  readonly values: Buffer;
  /** pcrDigest of the quote that covers this bank, hex. */
  readonly pcrDigest: string;
}

/** Something that a proven log shows about itself; the policy decides what it is worth. */
export interface BootProblem {
  readonly code: ReasonCode;
  readonly pcr: number | null;
  /** Index of the event in the log. */
  readonly event: number | null;
  readonly expected: string | null;
  readonly actual: string | null;
  readonly text: string;
}

/** A firmware log beside the quoted PCRs: what replays is vouched for, what does not is not. */
export interface MeasuredBoot {
  /** SHA-256 of the log's exact bytes, hex. */
  readonly digest: string;
  readonly log: EventLog;
  /** What user space measured after the firmware's log, as far as it led to the quoted values; empty where it did not send its log. */
  readonly userSpace?: readonly UserSpaceEvent[];
  /** SHA-256, hex, of the log of user space that was given; null where there was none. */
  readonly userSpaceDigest?: string | null;
  readonly problems: readonly BootProblem[];
  /** What the boot was, as far as the quoted values vouch for it. */
  readonly state: BootState;
}

/**
 * Evidence that `verify` has checked: only `verify` can make one, and `policy` accepts nothing else.
 * Every value in it was signed by the attestation key, except `facts`, which the node merely says.
 */
export interface Proven {
  readonly [proven]: true;
  /** Name of the attestation key that signed, hex. */
  readonly akName: string;
  /** SHA-256 of the endorsement key's TPMT_PUBLIC that the attestation key is enrolled under, hex; null where none is known. */
  readonly ekDigest: string | null;
  readonly banks: readonly QuotedBank[];
  /** SHA-256, hex, over banks, masks and values of the measured PCRs: 0 to 15 without 10. */
  readonly measuredDigest: string;
  /** `clock` in milliseconds that the TPM has been powered. */
  readonly clock: Quote['clock'];
  /** The TPM's firmware version, 16 hex digits. */
  readonly firmwareVersion: string;
  readonly facts: Facts | null;
  readonly boot: MeasuredBoot | null;
}
