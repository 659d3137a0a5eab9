import type { Flaps } from '../formats/flaps.ts';
import { ByteBudget, type ByteRate } from '../wire/byte-budget.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { NodeState, Verdict } from '../wire/verdict.ts';
import type { NodeStatus } from './ports.ts';

/** Bytes that one node's verdicts may add to history and audit log, which are never erased. */
const share: ByteRate = { burst: 256 * 1024, aDay: 768 * 1024 };
/** So many changes within a minute have rows of their own: a boot takes two or three. */
const mostChanges = 8;
const minute = 60_000;
/** The row of joined changes waits for room no longer than this: what it takes is owed then. */
const longestWait = 10 * minute;
/** After this long without a joined change a node no longer flaps, and findings against it have rows again. */
const settledAfter = 60 * minute;
/** While the reported state stays the same, the audit log says once in this time that the node flaps. */
const toldEvery = 60 * minute;
/** Of two rows asked for in one millisecond, one is a little later. */
const rowsTogether = 8;

/** Changes that wait for a row. */
interface JoinedChanges {
  changes: number;
  readonly states: Set<NodeState>;
  readonly codes: Set<ReasonCode>;
  /** When the first was, in milliseconds since the epoch. */
  readonly since: number;
}

/** A change of a node's verdict, which may be two verdicts: that it booted, and what is found then. */
export interface VerdictChange {
  readonly verdicts: readonly Verdict[];
  /** The state before. */
  readonly from: NodeState | null;
  /** Bytes of rows of its own. */
  readonly bytes: number;
}

/** Content of a row of joined changes. */
export interface DueFlaps {
  readonly flaps: Flaps;
  /** When the first of them was, in milliseconds since the epoch. */
  readonly since: number;
  /** The state of the row before; null: not known. */
  readonly from: NodeState | null;
  /** Whether the audit log says that it flaps, though its state is the one of the row before. */
  readonly isToldAnew: boolean;
}

/**
 * Which changes of one node's verdict have rows of their own: all of a node that changes as nodes do. Those of one that
 * flaps have one row a minute together, as far as its share has room. No change waits for its row: its effect is shown,
 * stored and marked at once. Moments are monotonic milliseconds. A restarted server does not remember earlier changes.
 */
export class Flapping {
  readonly #budget: ByteBudget;
  /** Moments of its latest changes. */
  #changes: readonly number[] = [];
  /** Findings against it while it was untrusted that have a row. */
  readonly #told = new Set<ReasonCode>();
  /** Its state in its latest row; null: not known. */
  #state: NodeState | null = null;
  #joined: JoinedChanges | null = null;
  /** Of its latest row. */
  #rowAt: number;
  /** When the joined ones have their row at the earliest. */
  #dueAt: number;
  #joinedAt: number | null = null;
  #toldAt: number | null = null;

  constructor(at: number) {
    this.#budget = new ByteBudget(share, at);
    this.#rowAt = at;
    this.#dueAt = at;
  }

  /** From a status whose changes had no row yet when the server stopped; otherwise null. @param at now */
  static resumed({ verdict, since, recordedAt }: NodeStatus, at: number): Flapping | null {
    if (verdict === null || since === null || recordedAt === null || since <= recordedAt + rowsTogether)
      return null;
    const flapping = new Flapping(at);
    flapping.#joined = joinedOf(since);
    count(flapping.#joined, verdict);
    flapping.#joinedAt = at;
    return flapping;
  }

  /**
   * Whether the change has rows of its own. Attack: a node spends its share on changes that harm nobody, so that nothing is written
   * of the one that does. What makes it untrusted has its rows the first time that they are written, however often they could not be.
   */
  hasRows({ verdicts, bytes }: VerdictChange, at: number): boolean {
    const last = this.#changes.at(-1) ?? Number.NEGATIVE_INFINITY;
    const fits = this.#budget.holds(bytes, at);
    if (at - last >= settledAfter && this.#budget.holds(0, at)) this.#told.clear();
    this.#changes = [...this.#changes, ...verdicts.map(() => at)].slice(-mostChanges - 1);
    const first = this.#changes.length > mostChanges ? (this.#changes[0] ?? at) : Number.NEGATIVE_INFINITY;
    const codes = verdicts.flatMap(heldAgainst);
    const isNew = codes.some((code) => !this.#told.has(code));
    const isFirst = isNew && this.#told.size === 0;
    return isFirst || (fits && (isNew || at - first >= minute));
  }

  /** The change has none: it is counted for the next one. @param now milliseconds since the epoch */
  join({ verdicts, from }: VerdictChange, at: number, now: number): void {
    if (this.#joined === null) {
      this.#joined = joinedOf(now);
      this.#state ??= from;
      this.#dueAt = Math.max(this.#dueAt, at);
    }
    for (const verdict of verdicts) count(this.#joined, verdict);
    this.#joinedAt = at;
  }

  /** Rows of these verdicts were written: they are charged to the node. */
  written({ verdicts, bytes }: Omit<VerdictChange, 'from'>, at: number): void {
    this.#budget.take(bytes);
    for (const code of verdicts.flatMap(heldAgainst)) this.#told.add(code);
    this.#joined = null;
    this.#state = verdicts.at(-1)?.state ?? this.#state;
    this.#rowAt = at;
    this.#dueAt = at + minute;
  }

  /** Whether it has changes whose row is due. */
  isDue(at: number): boolean {
    return this.#joined !== null && at >= this.#dueAt;
  }

  /** Joined changes that its next row reports besides its verdict; null if there are none. */
  waiting(at: number): DueFlaps | null {
    if (this.#joined === null) return null;
    const { changes, states, codes, since } = this.#joined;
    return {
      flaps: { changes, states: [...states], codes: [...codes] },
      since,
      from: this.#state,
      isToldAnew: this.#toldAt === null || at - this.#toldAt >= toldEvery,
    };
  }

  /** Whether the row of joined changes is written now. Else it is tried again in a minute. */
  areDue(bytes: number, at: number): boolean {
    if (!this.#budget.holds(bytes, at) && at - this.#rowAt < longestWait) {
      this.#dueAt = at + minute;
      return false;
    }
    return true;
  }

  /** Whether a row that may wait has room now. */
  hasRoom(bytes: number, at: number): boolean {
    return this.#budget.holds(bytes, at);
  }

  /** The audit log has said that it flaps. */
  told(at: number): void {
    this.#toldAt = at;
  }

  /** Whether it flaps, or did so within the hour. */
  isFlapping(at: number): boolean {
    return this.#joinedAt !== null && at - this.#joinedAt < settledAfter;
  }
}

function joinedOf(since: number): JoinedChanges {
  return { changes: 0, states: new Set(), codes: new Set(), since };
}

function count(joined: JoinedChanges, { state, reasons }: Verdict): void {
  joined.changes += 1;
  joined.states.add(state);
  for (const { code, severity } of reasons) if (severity !== 'info') joined.codes.add(code);
}

function heldAgainst({ state, reasons }: Verdict): readonly ReasonCode[] {
  if (state !== 'untrusted') return [];
  const failed = reasons.filter(({ severity }) => severity === 'fail');
  return (failed.length === 0 ? reasons : failed).map(({ code }) => code);
}
