/**
 * What several nodes say alike, so that no one node's memory can tell it. What a node says of it is a claim, which stands until the node
 * claims something else, and goes with the node.
 */
export interface AmongNodes<Claimed, Kept, Known> {
  /** A proven answer, or enrolment, says so. @returns what is known by the claims of all */
  claim(name: string, claimed: Claimed): Known;
  /** As it is stored: after a start, and where an answer that claimed something else came to nothing. */
  restore(name: string, kept: Kept): void;
  release(name: string): void;
}
