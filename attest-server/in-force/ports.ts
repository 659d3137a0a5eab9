/** Of a cluster in which trust cannot be taken back: which groups it covers, and the policy that was last in force. */
export interface Latched {
  /** Empty: all. */
  readonly groups: readonly string[];
  /** Null where none was kept, as after a new start with an empty store. */
  readonly policy: KeptPolicy | null;
}

export interface KeptPolicy {
  /** Its name, or the path that faults are reported with. */
  readonly source: string;
  readonly text: string;
}

export interface LatchedPolicy {
  /** Null where the latch is off. */
  read(): Promise<Latched | null>;
  /** Committed once it resolves. */
  keep(policy: KeptPolicy): Promise<void>;
}

/** A policy that a signed directory holds. */
export interface DeclaredPolicy {
  /** The path that faults are reported with. */
  readonly source: string;
  readonly text: string;
}
