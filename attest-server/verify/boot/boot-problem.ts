import type { ReasonCode } from '../../protocol/reasons.ts';

/** Something that a log shows about itself; the policy decides what it is worth. */
export interface BootProblem {
  readonly code: ReasonCode;
  readonly pcr: number | null;
  /** Index of the event in the log. */
  readonly event: number | null;
  readonly expected: string | null;
  readonly actual: string | null;
  readonly text: string;
}
