import { isIP } from 'node:net';
import { LRUCache } from 'lru-cache';
import type { AuditEvent } from '../formats/audit.ts';
import { auditRowBytes } from '../formats/row-bytes.ts';
import { atMost } from '../wire/at-most.ts';
import { ByteBudget, type ByteRate } from '../wire/byte-budget.ts';
import { outsideText } from '../wire/printable.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { sourceOf } from '../wire/source.ts';

/** One refused message, connection or request. */
export interface AuditRefusal {
  readonly code: ReasonCode;
  readonly text: string;
  /** The node name that was claimed or concerned; null before a hello. */
  readonly node: string | null;
  /** Whether a node is enrolled under that name. */
  readonly isEnrolled: boolean;
  /** Its source: an address, or the holder that a token names. */
  readonly address: string;
  /** Whether the refused party had proven its identity, by a quote or a token. Otherwise it is a stranger. */
  readonly isProven: boolean;
}

/** How one refusal is recorded. */
export interface RefusalOutcome {
  /** Its audit entry; null if it is only counted. */
  readonly event: AuditEvent | null;
  /** Similar ones came just before, or too many of others: it gets no line in the server's log. */
  readonly isRepeated: boolean;
}

/** Decides which refusals get an audit entry: the first of each kind, within a budget. The others are counted. */
export interface RefusalLog {
  note(refusal: AuditRefusal, at: number): RefusalOutcome;
  /** Makes the entry that counts the others by code, and restarts the count; null if there are none. */
  count(at: number): AuditEvent | null;
}

const second = 1000;
const hour = 3600 * second;
/**
 * Milliseconds between two entries of one kind (code, source, and the node if it is enrolled), doubled each time while
 * refusals continue.
 */
const quiet = { first: 10 * second, longest: hour };
/** How many kinds, sources, and proven nodes and tokens are remembered: a flood must not fill the memory. */
const remembered = { kinds: 4096, sources: 1024, proven: 65_536 };

/**
 * Budget of all strangers together: with its checkpoints (0.4 MB) and the hourly counts, the log grows by less than 1 MB
 * a day. Entries about enrolled nodes have a budget of their own, which invented names cannot use up.
 */
const ofStrangers: ByteRate = { burst: 128 * 1024, aDay: 144 * 1024 };
/** Budget of one source of strangers, so that none takes it all. */
const ofSource: ByteRate = { burst: ofStrangers.burst / 8, aDay: ofStrangers.aDay / 8 };
/** Budget of one proven node or token. */
const ofProven: ByteRate = { burst: 48 * 1024, aDay: 144 * 1024 };

/** Lines in the server's log about refusals that are only counted: each new address would get another one. */
const lines: ByteRate = { burst: 128, aDay: 24 * 3600 };

/** How many names that are not enrolled get an entry per code and source before it is quiet: names are easily invented. */
const namesOfKind = 8;

interface RefusalKind {
  readonly at: number;
  readonly quiet: number;
  /** Names that are not enrolled, in the entries since `at`. */
  readonly names: Set<string>;
  leftOut: number;
}

export function createRefusalLog(startedAt: number): RefusalLog {
  const kinds = new LRUCache<string, RefusalKind>(atMost(remembered.kinds));
  const shares = { enrolled: strangersShare(startedAt), others: strangersShare(startedAt) };
  const proven = new LRUCache<string, ByteBudget>(atMost(remembered.proven));
  const linesLeft = new ByteBudget(lines, startedAt);
  const uncounted = new Map<ReasonCode, number>();
  let since = startedAt;

  const leaveOut = (code: ReasonCode, kind: RefusalKind): RefusalOutcome => {
    uncounted.set(code, (uncounted.get(code) ?? 0) + 1);
    kind.leftOut += 1;
    return { event: null, isRepeated: true };
  };
  const budgetsOf = (source: string, { node, isEnrolled, isProven }: AuditRefusal, at: number) => {
    if (isProven) return [budgetIn(proven, node ?? source, ofProven, at)];
    const { all, bySource } = isEnrolled ? shares.enrolled : shares.others;
    return [budgetIn(bySource, source, ofSource, at), all];
  };

  return {
    note(refusal, at) {
      const { code, text, node, isEnrolled, address, isProven } = refusal;
      const source = isIP(address) === 0 ? address : sourceOf(address);
      // Nobody makes a node that has proven itself quiet, from its own address either.
      const key = `${isProven} ${code} ${isEnrolled ? node : ''} ${source}`;
      const before = kinds.peek(key);
      const isQuiet = before !== undefined && at >= before.at && at < before.at + before.quiet;
      if (isQuiet && !isAnotherName(refusal, before.names)) return leaveOut(code, before);
      const kind = isQuiet ? before : next(before, at);
      kinds.set(key, kind);
      if (node !== null && !isEnrolled) kind.names.add(node);
      const event: AuditEvent = {
        at,
        actor: `address:${address}`,
        action: 'refuse',
        subject: node ?? '',
        code,
        detail: { text: outsideText(text), leftOut: kind.leftOut },
      };
      const size = auditRowBytes(event);
      const budgets = budgetsOf(source, refusal, at);
      if (!budgets.every((budget) => budget.holds(size, at))) {
        const isSaid = !isQuiet && linesLeft.holds(1, at);
        if (isSaid) linesLeft.take(1);
        return { ...leaveOut(code, kind), isRepeated: !isSaid };
      }
      for (const budget of budgets) budget.take(size);
      kind.leftOut = 0;
      return { event, isRepeated: false };
    },

    count(at) {
      if (uncounted.size === 0) return null;
      const detail = { since, ...Object.fromEntries(uncounted) };
      uncounted.clear();
      since = at;
      return { at, actor: 'server', action: 'refuse.count', subject: '', code: null, detail };
    },
  };
}

/** Starts the next quiet time of a kind: longer each time while its refusals continue. */
function next(before: RefusalKind | undefined, at: number): RefusalKind {
  const goesOn = before !== undefined && at < before.at + 2 * quiet.longest;
  const wait = goesOn ? Math.min(before.quiet * 2, quiet.longest) : quiet.first;
  return { at, quiet: wait, names: new Set(), leftOut: before?.leftOut ?? 0 };
}

function isAnotherName({ node, isEnrolled }: AuditRefusal, names: ReadonlySet<string>): boolean {
  return node !== null && !isEnrolled && names.size < namesOfKind && !names.has(node);
}

interface StrangerBudgets {
  readonly all: ByteBudget;
  readonly bySource: LRUCache<string, ByteBudget>;
}

function strangersShare(at: number): StrangerBudgets {
  return { all: new ByteBudget(ofStrangers, at), bySource: new LRUCache(atMost(remembered.sources)) };
}

function budgetIn(
  budgets: LRUCache<string, ByteBudget>,
  key: string,
  rate: ByteRate,
  at: number,
): ByteBudget {
  const known = budgets.get(key);
  if (known !== undefined) return known;
  const budget = new ByteBudget(rate, at);
  budgets.set(key, budget);
  return budget;
}
