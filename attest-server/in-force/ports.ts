import type { AuditEvent } from '../formats/audit.ts';
import type { PolicyArrival } from '../formats/policy-arrival.ts';

/** The latch of a cluster in which trust cannot be taken back: which groups it covers, and the policy that was last in force. */
export interface LatchState {
  /** Empty: all. */
  readonly groups: readonly string[];
  /** Null if none was kept, as after a new start with an empty store. */
  readonly policy: KeptPolicy | null;
}

export interface KeptPolicy {
  /** Its name, or the path that faults are reported with. */
  readonly source: string;
  readonly text: string;
}

export interface LatchedPolicy {
  /** Null if the latch is off. */
  read(): Promise<LatchState | null>;
  /** Committed once it resolves. */
  keep(policy: KeptPolicy): Promise<void>;
}

/** A policy that a signed directory holds. */
export interface DeclaredPolicy {
  /** The path that faults are reported with. */
  readonly source: string;
  readonly text: string;
}

/** A policy that is or was in force. Times are milliseconds since the epoch. */
export interface PolicyRevision {
  /** SHA-256 of its text, hex; the first 12 digits are its revision. */
  readonly digest: string;
  readonly name: string;
  /** Its name, or the path that it was read from. */
  readonly source: string;
  /** Characters of its text. */
  readonly length: number;
  readonly firstAt: number;
  /** Since when it was in force the last time. */
  readonly lastAt: number;
  /** When that ended; null: it is in force. */
  readonly endedAt: number | null;
  /** How it came the last time. */
  readonly came: PolicyArrival;
  /** Who had it come, and why; null if a file alone did. */
  readonly by: string | null;
  readonly reason: string | null;
}

/** An earlier policy counts in place of the one that file or directory give, until these give another one. */
export interface Rollback {
  readonly digest: string;
  /** SHA-256 of the text that does not count meanwhile. */
  readonly insteadOf: string;
  readonly at: number;
  readonly by: string;
  readonly reason: string;
}

/** A person's word that one policy may come into force, however many nodes it makes untrusted. */
export interface Allowance {
  /** SHA-256 of its text, or the first 12 digits or more of it. */
  readonly digest: string;
  readonly at: number;
  readonly by: string;
  readonly reason: string;
}

export interface PolicyStore {
  /** Every one that is kept: the one in force, then the others, the latest to end first. */
  list(): Promise<readonly PolicyRevision[]>;
  /** Null if it is not kept. */
  text(digest: string): Promise<string | null>;
  rollback(): Promise<Rollback | null>;
  allowance(): Promise<Allowance | null>;
  /**
   * Enters another policy in force, or another rollback: the one before ends. The oldest texts beyond the bound go. An
   * allowance for this text is used up. All of it, or nothing.
   */
  enter(
    revision: Pick<PolicyRevision, 'digest' | 'name' | 'source' | 'came' | 'by' | 'reason'> & {
      readonly text: string;
    },
    change: { readonly at: number; readonly rollback: Rollback | null; readonly audit: AuditEvent | null },
  ): Promise<void>;
  /** In place of the allowance before. */
  allow(allowance: Allowance, audit: AuditEvent): Promise<void>;
}
