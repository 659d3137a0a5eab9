import type { Verdict } from '../../attest-server/wire/verdict.ts';

/** One verdict as a sentence that a newcomer understands. */
export function describeVerdict(node: string, { state, reasons, require }: Verdict): string {
  const [first] = reasons.filter((reason) => reason.severity !== 'info').concat(reasons);
  const why = first === undefined ? '' : `: ${first.code} - ${first.text}`;
  switch (state) {
    case 'trusted':
      return `${node} is TRUSTED (${require.join(', ')}): its TPM signed what it booted, and that is what it should be.`;
    case 'untrusted':
      return `${node} is UNTRUSTED${why}`;
    case 'pending':
      return `${node} is pending${why}`;
    case 'unknown':
      return `${node} is unknown${why}`;
    case 'unsupported':
      return `${node} is unsupported${why}`;
  }
}
