import type { PcrBank } from '../../protocol/messages.ts';

export const stages = [
  'firmware',
  'driver',
  'secureboot',
  'loader',
  'kernel',
  'initrd',
  'cmdline',
  'os',
  'other',
] as const;
export type Stage = (typeof stages)[number];

/** One event of a TCG log. PC Client PFP 1.06, section 10. */
export interface LogEvent {
  /** Counts from the first event in the file. */
  readonly index: number;
  readonly pcr: number;
  /** `EV_…`, or `0x%08X` where the type is unknown. */
  readonly type: string;
  readonly digests: Readonly<Partial<Record<PcrBank, string>>>;
  readonly stage: Stage;
  /** What the event says of itself, for a person; control characters escaped. */
  readonly describes: string;
  /** The event data was recomputed to the digest in every bank carried. */
  readonly verified: boolean;
}

/** A parsed and replayed log. */
export interface EventLog {
  readonly format: 'crypto-agile' | 'sha1';
  /** Per bank every PCR that the log extends, after replay, hex. */
  readonly banks: Readonly<Partial<Record<PcrBank, Readonly<Record<number, string>>>>>;
  readonly startupLocality: number | null;
  readonly events: readonly LogEvent[];
  readonly notes: readonly { readonly event: number | null; readonly code: string; readonly text: string }[];
}
