import type { Doubt, EnforcementAction, Suppression } from '../formats/marking.ts';
import type { HeldKey } from './breaker.ts';
import type { ClusterError } from './ports.ts';

/** Events that marking reports. */
export interface MarkingReport {
  acted(action: EnforcementAction, isDone: boolean): void;
  /** A mark that a verdict asks for is not set, or not removed, from now on. */
  suppressed(reason: Suppression): void;
  /** A Node was looked at, and all of its marks are as they should be. */
  reconciled(seconds: number): void;
  /** The cluster did not do what was asked. */
  failed(error: ClusterError, node: string | null): void;
  /** Somebody changed marks of ours; they are restored. */
  tampered(node: string, text: string): void;
  /** A controller put its startup taint back: no attack. */
  startupTaintRestored(node: string): void;
  /** No taint of drift is put while this lasts. */
  doubted(doubt: Doubt): void;
  /** Taints of this many nodes wait for a person from now on. */
  opened(held: HeldKey, nodes: number, isOurs: boolean): void;
  fault(error: unknown, where: string): void;
}

/** Does it, and counts it as done or failed. */
export async function counted<T>(
  report: Pick<MarkingReport, 'acted'>,
  actions: readonly EnforcementAction[],
  work: () => Promise<T>,
): Promise<T> {
  let isDone = false;
  try {
    const done = await work();
    isDone = true;
    return done;
  } finally {
    for (const action of actions) report.acted(action, isDone);
  }
}
