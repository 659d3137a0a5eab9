import type { AuditEntry } from '../formats/audit.ts';
import type { NodeState, Verdict } from '../wire/verdict.ts';

/** An entry of the audit log that is to be told. */
export interface Waiting {
  readonly seq: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** The audit log is the queue: what happened is in it before anybody learns of it, and how far it was told is a number. */
export interface WebhookStore {
  /** `seq` of the last entry that nobody need tell any more; null where no webhook was there before. */
  position(): Promise<number | null>;
  /** Null: what happens from now on is told to nobody. */
  setPosition(seq: number | null): Promise<void>;
  /** The latest entry. */
  head(): Promise<number>;
  /** Those to be told among the next entries; `upTo` is the last one that was looked at. */
  events(after: number): Promise<{ readonly upTo: number; readonly waiting: readonly Waiting[] }>;
  /** Null where it is not there. */
  entry(seq: number): Promise<AuditEntry | null>;
  /** The verdict that an entry is about, and the state before it; null where the history has it not. */
  transition(
    node: string,
    at: number,
    state: string,
  ): Promise<{ readonly verdict: Verdict; readonly from: NodeState | null } | null>;
}
