import type { NodeBudgets } from '../evidence/node-budgets.ts';
import { type FaultCause, storageCauseOf } from '../formats/server-fault.ts';
import type { Flapping } from './flapping.ts';
import type { JudgingTime } from './judging-time.ts';
import type { NodeStatus } from './ports.ts';

/** Until when a node counts as proven, also by monotonic milliseconds, and what is kept of that proof. */
export interface Proof extends Pick<NodeStatus, 'verifiedAt' | 'expiresAt' | 'parts' | 'evidenceDigest'> {
  readonly deadline: number | null;
}

/** An agent that lost its connection is back within 30 s, and quotes. */
const comesBackWithin = 60_000;
/** Nothing is under way. */
export const noWork: Promise<unknown> = Promise.resolve();

/**
 * All that this server knows of one node. Whoever drops it has forgotten the node: what is still under way then ends at an object that
 * nobody looks at any more.
 */
export class OwnedNode {
  readonly name: string;
  /** Of its TPM; null before it answered, or was taken from the store. */
  ekDigest: string | null = null;
  /** Status as it is shown; null before the node is judged, or taken from the store. */
  status: NodeStatus | null = null;
  /** Stored status of a node that is shown as overdue because of a fault of ours, which is not stored. Otherwise null. */
  stored: NodeStatus | null = null;
  /** Time that judging it took lately; null if no quote of it was verified since the start. */
  judging: JudgingTime | null = null;
  /** Bytes that it has us keep; null if it did not yet. */
  budgets: NodeBudgets | null = null;
  /** Its changes of late; null if it had none. */
  flapping: Flapping | null = null;
  /** Digests of parts that it sent and that are gone: else it would never send them again. */
  lostParts: Set<string> | null = null;
  /** Its TPM's banks were added to its record, while a connection may still hold the earlier record. */
  hasFixedBanks = false;
  /** Settles when what is under way for it is done. */
  lane = noWork;
  /** Monotonic milliseconds: whoever sets the server's clock back trusts nobody longer. */
  #deadline: number | null = null;
  /** Its latest answer was not judged or stored because of a fault of ours. It is shown, and never stored. */
  #fault: { readonly cause: FaultCause; readonly at: number } | null = null;
  /** Proofs that were said and are on their way to the disk. */
  #unwritten: Unwritten | null = null;

  constructor(name: string) {
    this.name = name;
  }

  /** Nothing was proven of it, and nothing is stored: it is known while something is done in its name, and no longer. */
  get isBlank(): boolean {
    return this.status === null && this.judging === null;
  }

  /** Status by the node's own doing, as on the disk. */
  get latest(): NodeStatus | null {
    return this.stored ?? this.status;
  }

  /** Shows the status that is stored. */
  showStored(status: NodeStatus): void {
    this.status = status;
    this.stored = null;
    this.#unwritten = null;
  }

  /** That it is overdue is shown, and not stored. */
  showOverdue(aged: NodeStatus, stored: NodeStatus): void {
    this.status = aged;
    this.stored = stored;
    this.#unwritten = null;
  }

  /** Where TPM and kernel were in time is forgotten, also of what is stored while something else is shown. */
  forgetSequence(): void {
    if (this.status !== null) this.status = { ...this.status, ...noSequence };
    if (this.stored !== null) this.stored = { ...this.stored, ...noSequence };
  }

  /** @param expiresAt by the wall clock, as it was at `at`. @param now monotonic */
  setDeadline(expiresAt: number | null, at: number, now: number): void {
    if (expiresAt !== null) this.#deadline = now + expiresAt - at;
  }

  endDeadline(): void {
    this.#deadline = null;
  }

  isOverdue(now: number): boolean {
    return this.#deadline !== null && now > this.#deadline;
  }

  noteFault(error: unknown, now: number): void {
    this.#fault = { cause: storageCauseOf(error) ?? 'internal', at: now };
  }

  endFault(): void {
    this.#fault = null;
  }

  /**
   * Null if the node was judged since, or did not come for so long that it is silent on its own.
   * @param unknownAfter how long a verdict holds, in milliseconds
   */
  faultAt(now: number, unknownAfter: number): FaultCause | null {
    if (this.#fault === null) return null;
    const { cause, at } = this.#fault;
    return now < at + Math.max(unknownAfter, comesBackWithin) ? cause : null;
  }

  proofIn({ verifiedAt, expiresAt, parts, evidenceDigest }: NodeStatus): Proof {
    return { verifiedAt, expiresAt, parts, evidenceDigest, deadline: this.#deadline };
  }

  /**
   * A proof that never gets to the disk must not count: the node falls back to the last one that did.
   * @param written settles with the write. @returns the same, once what it means is done
   */
  follow(before: Proof, now: Proof, written: Promise<void>): Promise<void> {
    const unwritten = this.#unwritten ?? { stored: before, latest: now };
    unwritten.latest = now;
    this.#unwritten = unwritten;
    return written.then(
      () => {
        unwritten.stored = now;
        this.#endWrite(unwritten, now);
      },
      (error: unknown) => {
        this.#endWrite(unwritten, now);
        throw error;
      },
    );
  }

  #endWrite(unwritten: Unwritten, now: Proof): void {
    // Else a change of the node is on disk since then.
    if (this.#unwritten !== unwritten) return;
    const { stored, latest } = unwritten;
    if (latest === now) this.#unwritten = null;
    // A later proof that is still under way stays shown where this one was written.
    else if (stored === now) return;
    this.#show(stored);
  }

  #show({ deadline, ...proof }: Proof): void {
    if (this.status === null || this.status.evidenceDigest === proof.evidenceDigest) return;
    this.status = { ...this.status, ...proof };
    this.#deadline = deadline;
  }
}

const noSequence = {
  resetCount: null,
  restartCount: null,
  clock: null,
  firmwareVersion: null,
  bootId: null,
  sequence: null,
} as const;

interface Unwritten {
  stored: Proof;
  latest: Proof;
}
