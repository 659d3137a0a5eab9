import type { WrongResource } from '../formats/marking.ts';
import type { ClusterError } from './ports.ts';

/** A resource that is not as it should be, and what its reader sees instead. */
export interface WrongAttestation {
  readonly shows: WrongResource;
  /** Null while it waits for its turn. */
  readonly fault: ClusterError | null;
}

/** State of the resource of one Node in the cluster. Moments are monotonic milliseconds. */
export class PublishedResource {
  isThere = false;
  /** The transition that it tells of; null: not known. */
  lastApplied: string | null = null;
  /** False: reduced to what the API takes. */
  isWhole = true;
  writtenAt = Number.NEGATIVE_INFINITY;
  dueAt = Number.NEGATIVE_INFINITY;
  /** Why it is not as it should be; null: it was never refused, or has been written since. */
  fault: ClusterError | null = null;

  /** Null if it is as it should be. @param desired null: nobody looked at its Node yet */
  wrong(isGone: boolean, desired: string | null): WrongAttestation | null {
    const { isThere, lastApplied, isWhole, fault } = this;
    if (isGone) return isThere ? { shows: 'old', fault } : null;
    const isCurrent = lastApplied === desired;
    if (desired === null || (isCurrent && fault === null)) return null;
    if (!isThere) return { shows: 'none', fault };
    return { shows: isCurrent && !isWhole ? 'least' : 'old', fault };
  }
}
