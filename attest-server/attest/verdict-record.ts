import type { NodeState, Verdict } from '../protocol/verdict.ts';
import type { NodeStatus, VerdictRecord } from '../store/store.ts';

/**
 * Everything that one attestation changes: status, evidence, a row of the history and an entry of the audit log a verdict.
 * @param before the state before the first of the verdicts
 */
export function verdictRecord(
  status: NodeStatus,
  at: number,
  verdicts: readonly Verdict[],
  before: NodeState | null,
  evidence: VerdictRecord['evidence'],
): VerdictRecord {
  const { name, evidenceDigest } = status;
  let from = before;
  const history = verdicts.map((verdict) => {
    const transition = verdict.state !== from;
    from = verdict.state;
    return { at, verdict, evidenceDigest, transition };
  });
  const audit = history.map(({ verdict: { state, policy, reasons }, transition }) => ({
    at,
    actor: 'server',
    action: 'verdict',
    subject: name,
    code: reasons[0]?.code ?? null,
    detail: { state, policy, evidence: evidenceDigest, transition },
  }));
  return { status, at, evidence, history, audit };
}
