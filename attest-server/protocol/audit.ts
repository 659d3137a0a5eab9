/** Who did what to whom: one line of the audit log. The chain's fields are added when it is written down. */
export interface AuditEvent {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** A person's or program's name: `token:admin`, `server`, `agent:node-1`. */
  readonly actor: string;
  /** A short verb phrase from a closed set, e.g. `enrol`, `refuse`, `verdict`, `reference.capture`. */
  readonly action: string;
  /** Node, reference or token that it is about. */
  readonly subject: string;
  /** Reason code or null. */
  readonly code: string | null;
  readonly detail: Readonly<Record<string, string | number | boolean | null>>;
}

/** The hash before the first entry. */
export const genesis = '0'.repeat(64);

/** An event in its place in the chain. */
export interface AuditEntry extends AuditEvent {
  /** Counts from 1, without gaps. */
  readonly seq: number;
  /** The hash of the entry before, 64 hex digits; zeros for the first. */
  readonly prev: string;
  readonly hash: string;
}
