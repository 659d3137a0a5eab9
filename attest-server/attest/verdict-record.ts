import type { AuditEvent } from '../protocol/audit.ts';
import type { NodeState, Verdict } from '../protocol/verdict.ts';
import type { ChangeRecord, HistoryEntry, NodeStatus } from './ports.ts';

type Row = Omit<HistoryEntry, 'node'>;

/**
 * Everything that one attestation changes: status, evidence, a row of the history and an audit entry a verdict.
 * @param before the state before the first of the verdicts
 */
export function changeRecord(
  status: NodeStatus,
  at: number,
  verdicts: readonly Verdict[],
  before: NodeState | null,
  evidence: ChangeRecord['evidence'],
): ChangeRecord {
  const { evidenceDigest } = status;
  let from = before;
  const history = verdicts.map((verdict): Row => {
    const transition = verdict.state !== from;
    from = verdict.state;
    return { at, verdict, evidenceDigest, transition, repeats: 0, since: at };
  });
  const audit = history.map((row): AuditEvent => {
    const { state, policy, trial, reasons } = row.verdict;
    return {
      at,
      actor: 'server',
      action: 'verdict',
      subject: status.name,
      code: reasons[0]?.code ?? null,
      detail: {
        state,
        policy,
        ...(trial && { trial }),
        evidence: evidenceDigest,
        transition: row.transition,
      },
    };
  });
  const since = history.some(({ transition }) => transition) ? at : status.since;
  return { status: { ...recorded(status, at), since }, at, evidence, history, audit };
}

/** One row and one entry for all equal verdicts since the row before. @param status `repeats` of them came before this one */
export function summaryRecord(
  status: NodeStatus,
  at: number,
  verdict: Verdict,
  evidence: ChangeRecord['evidence'],
): ChangeRecord {
  const { name, evidenceDigest, repeats } = status;
  const since = status.recordedAt ?? at;
  const { state, policy, trial, reasons } = verdict;
  return {
    status: recorded(status, at),
    at,
    evidence,
    history: [{ at, verdict, evidenceDigest, transition: false, repeats, since }],
    audit: [
      {
        at,
        actor: 'server',
        action: 'verdict.repeat',
        subject: name,
        code: reasons[0]?.code ?? null,
        detail: {
          state,
          policy,
          ...(trial && { trial }),
          evidence: evidenceDigest,
          count: repeats + 1,
          since,
        },
      },
    ],
  };
}

function recorded(status: NodeStatus, at: number): NodeStatus {
  return { ...status, recordedAt: at, recordedEvidence: status.evidenceDigest, repeats: 0 };
}
