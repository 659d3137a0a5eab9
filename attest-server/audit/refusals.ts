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
  /** The name that was claimed, or that it is about; null before a hello. */
  readonly node: string | null;
  /** Whether a node is enrolled under that name. */
  readonly isEnrolled: boolean;
  /** Where it came from: an address, or who a token says that he is. */
  readonly address: string;
  /** Whether whoever was refused had shown who he is: by a quote, or by a token. Else he is a stranger. */
  readonly isProven: boolean;
}

/** What becomes of one refusal. */
export interface Noted {
  /** Its audit entry; null where it is only counted. */
  readonly event: AuditEvent | null;
  /** One like it came a moment ago, or too many of others: it is not worth a line of the server's log. */
  readonly isRepeated: boolean;
}

/** Decides which refusals the audit log holds: the first of each kind, as far as there is room, and a number for the others. */
export interface RefusalLog {
  note(refusal: AuditRefusal, at: number): Noted;
  /** The entry for all that have none, by code, and begins to count anew; null where there are none. */
  count(at: number): AuditEvent | null;
}

const second = 1000;
const hour = 3600 * second;
/**
 * Between two entries of one kind (code, source, and the node where the name is one's); twice as long each time while
 * it goes on.
 */
const quiet = { first: 10 * second, longest: hour };
/** How many kinds, sources, and nodes and tokens that were proven are remembered; a flood cannot grow the memory. */
const remembered = { kinds: 4096, sources: 1024, proven: 65_536 };

/**
 * All entries of strangers together, so that they grow the log by less than 1 MB a day with the checkpoints that sign them
 * (0.4 MB) and the hourly counts. Those about a node of ours have a share of their own, which invented names cannot use up.
 */
const ofStrangers: ByteRate = { burst: 128 * 1024, aDay: 144 * 1024 };
/** Of that, one source: no single one leaves nothing for the others. */
const ofSource: ByteRate = { burst: ofStrangers.burst / 8, aDay: ofStrangers.aDay / 8 };
/** Of one node or token that has shown who it is. */
const ofProven: ByteRate = { burst: 48 * 1024, aDay: 144 * 1024 };

/** Lines of the server's log about refusals that are only counted: whoever has many addresses is new with each. */
const lines: ByteRate = { burst: 128, aDay: 24 * 3600 };

/** Names that nobody enrolled are free to invent: of one code and source so many have an entry before it is quiet. */
const namesOfKind = 8;

interface Kind {
  readonly at: number;
  readonly quiet: number;
  /** That nobody enrolled, of the entries since `at`. */
  readonly names: Set<string>;
  leftOut: number;
}

export function createRefusalLog(startedAt: number): RefusalLog {
  const kinds = new LRUCache<string, Kind>(atMost(remembered.kinds));
  const shares = { enrolled: strangersShare(startedAt), others: strangersShare(startedAt) };
  const proven = new LRUCache<string, ByteBudget>(atMost(remembered.proven));
  const linesLeft = new ByteBudget(lines, startedAt);
  const uncounted = new Map<ReasonCode, number>();
  let since = startedAt;

  const leaveOut = (code: ReasonCode, kind: Kind): Noted => {
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

/** What goes on has its next entry later and later. */
function next(before: Kind | undefined, at: number): Kind {
  const goesOn = before !== undefined && at < before.at + 2 * quiet.longest;
  const wait = goesOn ? Math.min(before.quiet * 2, quiet.longest) : quiet.first;
  return { at, quiet: wait, names: new Set(), leftOut: before?.leftOut ?? 0 };
}

function isAnotherName({ node, isEnrolled }: AuditRefusal, names: ReadonlySet<string>): boolean {
  return node !== null && !isEnrolled && names.size < namesOfKind && !names.has(node);
}

interface Share {
  readonly all: ByteBudget;
  readonly bySource: LRUCache<string, ByteBudget>;
}

function strangersShare(at: number): Share {
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
