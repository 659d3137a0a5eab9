import type { InForce } from '../in-force/in-force.ts';
import type { EvidenceRoom } from '../evidence/open.ts';
import type { NodeState } from '../protocol/verdict.ts';
import type { HistoryEntry, Store } from '../store/store.ts';

/** What the pipeline needs of the rest; `server.ts` fills it. */
export interface AttestPorts {
  readonly store: Store;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Milliseconds of a clock that nobody sets: deadlines go by it. */
  monotonic(): number;
  /** How long a verdict holds without a new one, in milliseconds. */
  readonly unknownAfter: number;
  /** What verdicts are made by at present. */
  inForce(): InForce;
  /** The node's labels in its cluster, by which groups may choose. */
  labelsOf(node: string): Readonly<Record<string, string>>;
  /** Keeps what was answered, and says how much of it a node may make us keep. */
  readonly evidence: Pick<EvidenceRoom, 'packer' | 'budget'>;
  /** Seconds spent in one phase of an attestation. */
  duration(phase: 'verify' | 'appraise' | 'record' | 'total', seconds: number): void;
  /** A verdict was committed. `from` is the state before it. */
  recorded(entry: HistoryEntry, from: NodeState | null): void;
}
