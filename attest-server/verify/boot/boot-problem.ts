import type { PcrBank } from '../../wire/messages.ts';
import type { ReasonCode } from '../../wire/reasons.ts';
import { isOfUnusedBank } from '../../wire/unused-bank.ts';
import { isOfValuePcr } from '../../wire/value-pcrs.ts';
import type { LogNote } from '../tpm/log-notes.ts';

/** A problem that a log shows about itself; the policy decides what it is worth. */
export interface BootProblem {
  readonly code: ReasonCode;
  readonly pcr: number | null;
  /** Index of the event in the log. */
  readonly event: number | null;
  readonly expected: string | null;
  readonly actual: string | null;
  readonly text: string;
}

/** Where what a log shows about itself is gathered: what could mislead a fact, and what no fact rests on. */
export interface ProblemCollector {
  readonly problems: BootProblem[];
  /**
   * Codes: `other_data`, `value_alone`, `before_settings`, `retyped_separator`, `not_a_separator`, `second_separator`, `after_boot`, `more_notes`.
   */
  readonly notes: LogNote[];
}

/** True if a log explains all that was quoted, but for unused banks and PCRs that a policy may compare by value. */
export function explainsTheRest(
  problems: readonly BootProblem[],
  banks: readonly { readonly bank: PcrBank }[],
): boolean {
  return problems.every((problem) => isOfValuePcr(problem) || isOfUnusedBank(problem, problems, banks));
}
