import type { AspectStatus, Verdict } from '../wire/verdict.ts';

/**
 * `ear_status` of a verdict (draft-ietf-rats-ear): no better than the worst aspect that was appraised, and affirming
 * only for a node that is trusted, and not on trial.
 */
export function earStatus({ state, aspects, reasons, require, trial }: Verdict): AspectStatus {
  const claims = Object.values(aspects).map(({ status }) => status);
  if (state === 'untrusted' || claims.includes('contraindicated')) return 'contraindicated';
  if (state !== 'trusted') return 'none';
  const warned = reasons.some(({ severity, aspect }) => severity === 'warn' && require.includes(aspect));
  return trial === true || warned || claims.includes('warning') ? 'warning' : 'affirming';
}
