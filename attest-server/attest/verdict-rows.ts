import type { NodeState, Verdict } from '../wire/verdict.ts';
import { Flapping } from './flapping.ts';
import type { OwnedNode } from './owned-node.ts';
import type { AttestPorts, ChangeRecord, NodeStatus } from './ports.ts';
import {
  bytesForGood,
  changeRecord,
  changesOf,
  flapsRecord,
  joinedRecord,
  summaryRecord,
} from './verdict-record.ts';

/** Verdicts of one node, and which rows of history and audit log they have. */
export interface RecordedVerdicts {
  readonly record: ChangeRecord;
  /** History entries of the verdict, even if it has no row of its own. */
  readonly told: ChangeRecord['history'];
  /** Bytes of its rows, which stay for good; 0: it has none. */
  readonly bytes: number;
}

/**
 * Decides which rows verdicts have: a change rows of its own, where its node does not flap; changes of one that does a row together;
 * and equal verdicts a row together each hour.
 */
export class VerdictRows {
  readonly #monotonic: () => number;
  readonly #summaryEvery: number;

  constructor({ monotonic, summaryEvery }: Pick<AttestPorts, 'monotonic' | 'summaryEvery'>) {
    this.#monotonic = () => monotonic();
    this.#summaryEvery = summaryEvery;
  }

  /** Restores what the server knew of this node when it stopped. */
  resume(node: OwnedNode, status: NodeStatus): void {
    node.flapping = Flapping.resumed(status, this.#monotonic());
  }

  /**
   * Of verdicts that are another one than `from`: with rows of its own, or with none if the node flaps.
   * @param isForKey a key of a disk is given or refused by it: it has rows anyway. An entry of the audit log names its evidence, and
   *   evidence without a row of its own is replaced by the next
   */
  changed(
    node: OwnedNode,
    status: NodeStatus,
    at: number,
    verdicts: readonly Verdict[],
    from: NodeState | null,
    evidence: ChangeRecord['evidence'],
    isForKey: boolean,
  ): RecordedVerdicts {
    const monotonic = this.#monotonic();
    node.flapping ??= new Flapping(monotonic);
    const { flapping } = node;
    const waiting = flapping.waiting(monotonic);
    const told = changesOf(status, at, verdicts, from);
    const record = changeRecord(status, at, verdicts, from, evidence, waiting);
    const whole = isForKey ? keptForKey(record) : record;
    const change = { verdicts, from, bytes: bytesForGood(whole) };
    if (isForKey || flapping.hasRows(change, monotonic)) return { record: whole, told, bytes: change.bytes };
    flapping.join(change, monotonic, at);
    return { record: joinedRecord(status, at, verdicts, from, evidence), told, bytes: 0 };
  }

  /** Of equal verdicts, where their row is due and has room; else null. */
  summary(
    node: OwnedNode,
    previous: NodeStatus,
    status: NodeStatus,
    at: number,
    verdict: Verdict,
    evidence: ChangeRecord['evidence'],
  ): RecordedVerdicts | null {
    if (!this.#isSummaryDue(previous, at)) return null;
    const monotonic = this.#monotonic();
    node.flapping ??= new Flapping(monotonic);
    const { flapping } = node;
    if (flapping.waiting(monotonic) !== null) return null;
    const record = summaryRecord(status, at, verdict, evidence);
    const bytes = bytesForGood(record);
    return flapping.hasRoom(bytes, monotonic) ? { record, told: record.history, bytes } : null;
  }

  /** Also where the clock was set back: the row would be due at a moment that is far away. */
  #isSummaryDue({ recordedAt }: NodeStatus, at: number): boolean {
    return recordedAt === null || at < recordedAt || at >= recordedAt + this.#summaryEvery;
  }

  /** The one row of what changed since the row before, where something did and it has room; else null. */
  joined({ flapping }: OwnedNode, status: NodeStatus, at: number): RecordedVerdicts | null {
    const { verdict } = status;
    const monotonic = this.#monotonic();
    const waiting = flapping?.waiting(monotonic) ?? null;
    if (verdict === null || flapping === null || waiting === null) return null;
    const record = flapsRecord(status, at, verdict, waiting);
    const bytes = bytesForGood(record);
    return flapping.areDue(bytes, monotonic) ? { record, told: [], bytes } : null;
  }

  /** It is on disk. */
  written(node: OwnedNode, record: ChangeRecord): void {
    const { history, audit } = record;
    if (history.length === 0) return;
    const monotonic = this.#monotonic();
    const verdicts = history.map(({ verdict }) => verdict);
    node.flapping ??= new Flapping(monotonic);
    node.flapping.written({ verdicts, bytes: bytesForGood(record) }, monotonic);
    if (audit.some(({ action }) => action === 'flaps')) node.flapping.told(monotonic);
  }
}

/** The last row has the evidence. */
function keptForKey(record: ChangeRecord): ChangeRecord {
  const last = record.history.length - 1;
  const history = record.history.map((row, index) =>
    index === last ? { ...row, forKey: true as const } : row,
  );
  return { ...record, history };
}
