/**
 * Facts that several nodes claim alike, which the memory of no single node can show. A claim of a node stands until the
 * node claims something else, and goes with the node.
 */
export interface AmongNodes<Claimed, Kept, Known> {
  /** A proven answer, or enrolment, says so. @returns what is known by the claims of all */
  claim(name: string, claimed: Claimed): Known;
  /** As it is stored: after a start, and where an answer that claimed something else came to nothing. */
  restore(name: string, kept: Kept): void;
  release(name: string): void;
}
