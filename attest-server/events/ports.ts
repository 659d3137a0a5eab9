import type { NodeState, Verdict } from '../wire/verdict.ts';

/** The history of verdicts, as messages need it. */
export interface EventStore {
  /** The verdict that an entry is about, and the state before it; null if the history does not have it. */
  transition(
    node: string,
    at: number,
    state: string,
  ): Promise<{ readonly verdict: Verdict; readonly from: NodeState | null } | null>;
}
