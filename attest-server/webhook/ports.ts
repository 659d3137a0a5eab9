import type { NodeState, Verdict } from '../wire/verdict.ts';

/** What the history knows of what is told. */
export interface WebhookStore {
  /** The verdict that an entry is about, and the state before it; null where the history has it not. */
  transition(
    node: string,
    at: number,
    state: string,
  ): Promise<{ readonly verdict: Verdict; readonly from: NodeState | null } | null>;
}
