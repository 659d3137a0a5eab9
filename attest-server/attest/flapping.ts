import { ByteBudget, type ByteRate } from '../protocol/byte-budget.ts';
import type { Flaps } from '../protocol/flaps.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import type { NodeState, Verdict } from '../protocol/verdict.ts';
import type { NodeStatus } from './ports.ts';

/** What the rows of one node's verdicts add to history and audit log, which are never erased. */
const share: ByteRate = { burst: 256 * 1024, aDay: 768 * 1024 };
/** So many changes within a minute have rows of their own: a boot takes two or three. */
const mostChanges = 8;
const minute = 60_000;
/** The row of joined changes waits for room no longer than this: what it takes is owed then. */
const longestWait = 10 * minute;
/** Without a joined change for this long a node flaps no more, and what is found against it has rows anew. */
const settledAfter = 60 * minute;
/** While the state is the one that was told, the audit log says once in this time that it flaps. */
const toldEvery = 60 * minute;
/** Of two rows asked for in one millisecond, one is a little later. */
const rowsTogether = 8;

/** Changes that wait for a row. */
interface Joined {
  changes: number;
  readonly states: Set<NodeState>;
  readonly codes: Set<ReasonCode>;
  /** When the first was, in milliseconds since the epoch. */
  readonly since: number;
}

interface FlappingNode {
  readonly budget: ByteBudget;
  /** Moments of its latest changes. */
  changes: readonly number[];
  /** What was found against it while it was untrusted, and has a row. */
  readonly told: Set<ReasonCode>;
  /** Its state in its latest row; null: not known. */
  state: NodeState | null;
  joined: Joined | null;
  /** Of its latest row. */
  rowAt: number;
  /** When the joined ones have their row at the earliest. */
  dueAt: number;
  joinedAt: number | null;
  toldAt: number | null;
}

/** A change of a node's verdict, which may be two verdicts: that it booted, and what is found then. */
export interface VerdictChange {
  readonly verdicts: readonly Verdict[];
  /** The state before. */
  readonly from: NodeState | null;
  /** What rows of its own take, in bytes. */
  readonly bytes: number;
}

/** What the row of joined changes says. */
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
 * Which changes of verdicts have rows of their own: all of a node that changes as nodes do. Those of one that flaps have one
 * row a minute together, as far as its share has room. No change waits for that: what it means is shown, stored and marked at
 * once. Moments are of a clock that nobody sets, in milliseconds. A server that starts anew knows nothing of before.
 */
export class Flapping {
  readonly #nodes = new Map<string, FlappingNode>();

  /** Changes of this status had no row yet when the server ended. @param at now */
  resume({ name, verdict, since, recordedAt }: NodeStatus, at: number): void {
    if (verdict === null || since === null || recordedAt === null || since <= recordedAt + rowsTogether)
      return;
    const node = this.#node(name, at);
    node.joined = joinedOf(since);
    count(node.joined, verdict);
    node.joinedAt = at;
  }

  /**
   * Whether the change has rows of its own. Attack: a node spends its share on changes that harm nobody, so that nothing is written
   * of the one that does. What makes it untrusted has its rows the first time that they are written, however often they could not be.
   */
  hasRows(name: string, { verdicts, bytes }: VerdictChange, at: number): boolean {
    const node = this.#node(name, at);
    const last = node.changes.at(-1) ?? Number.NEGATIVE_INFINITY;
    const fits = node.budget.holds(bytes, at);
    if (at - last >= settledAfter && node.budget.holds(0, at)) node.told.clear();
    node.changes = [...node.changes, ...verdicts.map(() => at)].slice(-mostChanges - 1);
    const first = node.changes.length > mostChanges ? (node.changes[0] ?? at) : Number.NEGATIVE_INFINITY;
    const codes = verdicts.flatMap(heldAgainst);
    const isNew = codes.some((code) => !node.told.has(code));
    const isFirst = isNew && node.told.size === 0;
    return isFirst || (fits && (isNew || at - first >= minute));
  }

  /** The change has none: it is counted for the next one. @param now milliseconds since the epoch */
  join(name: string, { verdicts, from }: VerdictChange, at: number, now: number): void {
    const node = this.#node(name, at);
    if (node.joined === null) {
      node.joined = joinedOf(now);
      node.state ??= from;
      node.dueAt = Math.max(node.dueAt, at);
    }
    for (const verdict of verdicts) count(node.joined, verdict);
    node.joinedAt = at;
  }

  /** Rows of these verdicts were written: they are charged to the node. */
  written(name: string, { verdicts, bytes }: Omit<VerdictChange, 'from'>, at: number): void {
    const node = this.#node(name, at);
    node.budget.take(bytes);
    for (const code of verdicts.flatMap(heldAgainst)) node.told.add(code);
    node.joined = null;
    node.state = verdicts.at(-1)?.state ?? node.state;
    node.rowAt = at;
    node.dueAt = at + minute;
  }

  /** Nodes that have changes whose row is due. */
  due(at: number): readonly string[] {
    return [...this.#nodes].flatMap(([name, { joined, dueAt }]) =>
      joined !== null && at >= dueAt ? [name] : [],
    );
  }

  /** What a row of this node has to say beside its verdict; null where nothing waits. */
  waiting(name: string, at: number): DueFlaps | null {
    const node = this.#nodes.get(name);
    if (node === undefined || node.joined === null) return null;
    const { joined, state, toldAt } = node;
    return {
      flaps: { changes: joined.changes, states: [...joined.states], codes: [...joined.codes] },
      since: joined.since,
      from: state,
      isToldAnew: toldAt === null || at - toldAt >= toldEvery,
    };
  }

  /** Whether the row of joined changes is written now. Else it is tried again in a minute. */
  areDue(name: string, bytes: number, at: number): boolean {
    const node = this.#node(name, at);
    if (!node.budget.holds(bytes, at) && at - node.rowAt < longestWait) {
      node.dueAt = at + minute;
      return false;
    }
    return true;
  }

  /** Whether a row that may wait has room now. */
  hasRoom(name: string, bytes: number, at: number): boolean {
    return this.#node(name, at).budget.holds(bytes, at);
  }

  /** The audit log has said that it flaps. */
  told(name: string, at: number): void {
    this.#node(name, at).toldAt = at;
  }

  /** Nodes that flap, or did so within the hour. */
  names(at: number): readonly string[] {
    return [...this.#nodes].flatMap(([name, { joinedAt }]) =>
      joinedAt !== null && at - joinedAt < settledAfter ? [name] : [],
    );
  }

  forget(name: string): void {
    this.#nodes.delete(name);
  }

  #node(name: string, at: number): FlappingNode {
    const known = this.#nodes.get(name);
    if (known !== undefined) return known;
    const node: FlappingNode = {
      budget: new ByteBudget(share, at),
      changes: [],
      told: new Set(),
      state: null,
      joined: null,
      rowAt: at,
      dueAt: at,
      joinedAt: null,
      toldAt: null,
    };
    this.#nodes.set(name, node);
    return node;
  }
}

function joinedOf(since: number): Joined {
  return { changes: 0, states: new Set(), codes: new Set(), since };
}

function count(joined: Joined, { state, reasons }: Verdict): void {
  joined.changes += 1;
  joined.states.add(state);
  for (const { code, severity } of reasons) if (severity !== 'info') joined.codes.add(code);
}

function heldAgainst({ state, reasons }: Verdict): readonly ReasonCode[] {
  if (state !== 'untrusted') return [];
  const failed = reasons.filter(({ severity }) => severity === 'fail');
  return (failed.length === 0 ? reasons : failed).map(({ code }) => code);
}
