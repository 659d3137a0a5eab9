import type { AuditEvent } from '../formats/audit.ts';
import { auditRowBytes, historyRowBytes } from '../formats/row-bytes.ts';
import type { NodeState, Verdict } from '../wire/verdict.ts';
import type { DueFlaps } from './flapping.ts';
import type { ChangeRecord, HistoryEntry, NodeStatus } from './ports.ts';

type VerdictEntry = Omit<HistoryEntry, 'node'>;

/**
 * Everything that one attestation changes: status, evidence, a row of the history and an audit entry a verdict.
 * @param before the state before the first of the verdicts
 * @param waiting changes that had no row: the first of these rows says so
 */
export function changeRecord(
  status: NodeStatus,
  at: number,
  verdicts: readonly Verdict[],
  before: NodeState | null,
  evidence: ChangeRecord['evidence'],
  waiting: DueFlaps | null = null,
): ChangeRecord {
  const rows = changesOf(status, at, verdicts, waiting === null ? before : waiting.from);
  const history = rows.map((row, index) =>
    index === 0 && waiting !== null ? { ...row, ...joinedIn(waiting) } : row,
  );
  const audit = history.map(({ verdict, transition }) =>
    eventOf('verdict', status, at, verdict, { transition }),
  );
  return { status: recorded(sinceOf(status, at, verdicts, before), at), at, evidence, history, audit };
}

/** The same of changes that have a row later, together with others. */
export function joinedRecord(
  status: NodeStatus,
  at: number,
  verdicts: readonly Verdict[],
  before: NodeState | null,
  evidence: ChangeRecord['evidence'],
): ChangeRecord {
  return {
    status: { ...sinceOf(status, at, verdicts, before), repeats: 0 },
    at,
    evidence,
    history: [],
    audit: [],
  };
}

/** History rows of these verdicts, one each. @param before the state before the first of them */
export function changesOf(
  { evidenceDigest }: NodeStatus,
  at: number,
  verdicts: readonly Verdict[],
  before: NodeState | null,
): readonly VerdictEntry[] {
  let from = before;
  return verdicts.map((verdict): VerdictEntry => {
    const transition = verdict.state !== from;
    from = verdict.state;
    return { at, verdict, evidenceDigest, transition, repeats: 0, since: at };
  });
}

/** One row for all changes that had none. Its verdict is the one of now, and of its reasons the weightiest, in short. */
export function flapsRecord(
  status: NodeStatus,
  at: number,
  verdict: Verdict,
  waiting: DueFlaps,
): ChangeRecord {
  const { evidenceDigest, repeats } = status;
  const { from, isToldAnew, since, flaps } = waiting;
  const transition = verdict.state !== from;
  const event = eventOf('flaps', status, at, verdict, {
    transition,
    changes: flaps.changes,
    since,
    states: flaps.states.join(' '),
    codes: flaps.codes.join(' '),
  });
  return {
    status: recorded(status, at),
    at,
    evidence: [],
    history: [{ at, verdict: inShort(verdict), evidenceDigest, transition, repeats, ...joinedIn(waiting) }],
    audit: transition || isToldAnew ? [event] : [],
  };
}

/** Bytes that the record adds to history and audit log. */
export function bytesForGood({ status: { name }, history, audit }: ChangeRecord): number {
  let bytes = 0;
  for (const row of history) bytes += historyRowBytes(name, row);
  for (const event of audit) bytes += auditRowBytes(event);
  return bytes;
}

/** One row and one entry for all equal verdicts since the row before. @param status `repeats` of them came before this one */
export function summaryRecord(
  status: NodeStatus,
  at: number,
  verdict: Verdict,
  evidence: ChangeRecord['evidence'],
): ChangeRecord {
  const { evidenceDigest, repeats } = status;
  const since = status.recordedAt ?? at;
  return {
    status: recorded(status, at),
    at,
    evidence,
    history: [{ at, verdict, evidenceDigest, transition: false, repeats, since }],
    audit: [eventOf('verdict.repeat', status, at, verdict, { count: repeats + 1, since })],
  };
}

function eventOf(
  action: AuditEvent['action'],
  { name, evidenceDigest }: NodeStatus,
  at: number,
  { state, policy, trial, reasons }: Verdict,
  more: AuditEvent['detail'],
): AuditEvent {
  const detail = { state, policy, ...(trial && { trial }), evidence: evidenceDigest, ...more };
  return { at, actor: 'server', action, subject: name, code: reasons[0]?.code ?? null, detail };
}

function recorded(status: NodeStatus, at: number): NodeStatus {
  return { ...status, recordedAt: at, recordedEvidence: status.evidenceDigest, repeats: 0 };
}

function sinceOf(
  status: NodeStatus,
  at: number,
  verdicts: readonly Verdict[],
  before: NodeState | null,
): NodeStatus {
  return changesOf(status, at, verdicts, before).some(({ transition }) => transition)
    ? { ...status, since: at }
    : status;
}

function joinedIn({ since, flaps }: DueFlaps): Pick<VerdictEntry, 'since' | 'flaps'> {
  return { since, flaps };
}

/** Bytes of a text of a node's that a row a minute may have. */
const shortText = 80;

function inShort(verdict: Verdict): Verdict {
  const [first] = verdict.reasons;
  if (first === undefined) return { ...verdict, aspects: {} };
  const { code, class: kind, aspect, severity, source, text } = first;
  const short = { code, class: kind, aspect, severity, source, expected: null, actual: null, evidence: null };
  return { ...verdict, aspects: {}, reasons: [{ ...short, text: text.slice(0, shortText) }] };
}
