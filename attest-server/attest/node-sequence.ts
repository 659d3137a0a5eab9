import type { Bundle } from '../formats/bundle.ts';
import type { Sequence } from '../policy/sequence.ts';
import type { KeptSequence, NodeStatus } from './ports.ts';

/** The part of a node's status that remembers where its TPM and kernel are in time. */
type StoredSequence = Pick<
  NodeStatus,
  'resetCount' | 'restartCount' | 'clock' | 'firmwareVersion' | 'bootId' | 'sequence'
>;

/** How long the clock of a TPM may be off against ours over a short time, in milliseconds, beside half of that time. */
const clockSlack = 1_000;

/**
 * Whether an answer is to a challenge older than the verdict before, so that its clock may be older too: by the time
 * between the two, and by no more, since a clone that answers just after its twin is as old as the copy.
 */
export function isConcurrent(
  before: Pick<NodeStatus, 'verifiedAt' | 'clock'> | null,
  { challengedAt, clock }: { readonly challengedAt: number; readonly clock: bigint },
): boolean {
  if (before === null || before.verifiedAt === null) return false;
  const overlap = before.verifiedAt - challengedAt;
  if (overlap <= 0) return false;
  return (
    before.clock === null || before.clock - clock <= BigInt(Math.ceil(overlap * 1.5)) + BigInt(clockSlack)
  );
}

/** Null if nothing was seen, or a person has put an end to it. */
export function sequenceOf(status: StoredSequence): Sequence | null {
  const { resetCount, restartCount, clock, firmwareVersion, bootId, sequence } = status;
  if (resetCount === null || restartCount === null || clock === null) return null;
  const { firstBootId = bootId, rewind = 'none', replaced = null, held = null } = sequence ?? {};
  return {
    resetCount,
    restartCount,
    clock,
    firmwareVersion,
    bootId,
    firstBootId,
    rewind,
    replaced,
    held,
  };
}

/** As a bundle carries what the counters were compared with; a clock that was not compared is 0. */
export function previousOf(status: StoredSequence | null, concurrent: boolean): Bundle['previous'] {
  const past = status === null ? null : sequenceOf(status);
  if (past === null) return undefined;
  const { replaced, ...rest } = past;
  const clock = concurrent ? '0' : past.clock.toString();
  return { ...rest, clock, ...(replaced !== null && { replaced }) };
}

/** As the status keeps it; the same object where nothing changed. */
export function rememberedOf(
  { resetCount, restartCount, clock, firmwareVersion, bootId, firstBootId, rewind, replaced, held }: Sequence,
  before: KeptSequence | null,
): StoredSequence {
  const same =
    before?.firstBootId === firstBootId &&
    before.rewind === rewind &&
    before.replaced === replaced &&
    before.held === held;
  const sequence = same ? before : { firstBootId, rewind, replaced, held };
  return { resetCount, restartCount, clock, firmwareVersion, bootId, sequence };
}
