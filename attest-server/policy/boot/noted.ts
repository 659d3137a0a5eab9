import type { LogNote } from '../../verify/tpm/log-notes.ts';
import type { Finding } from '../finding.ts';

/** The findings, each with what the log's notes say of the event that it speaks of. */
export function withNotes(findings: readonly Finding[], notes: readonly LogNote[]): readonly Finding[] {
  if (notes.length === 0 || findings.length === 0) return findings;
  return findings.map((finding) => {
    const position = finding.aspect === 'boot' ? finding.evidence?.position : undefined;
    const beside = notes.filter(({ event }) => event !== null && position === `event ${event}`);
    if (beside.length === 0) return finding;
    const lines = beside.map(({ event, text }) => `note on event ${event}: ${text}`);
    return { ...finding, detail: [...(finding.detail ?? []), ...lines] };
  });
}
