import { classOf } from '../../attest-server/wire/reasons.ts';
import type { Verdict } from '../../attest-server/wire/verdict.ts';

/** What wakes people, of every verdict, also of one that another follows a moment later. */
export interface Alarms {
  see(node: string, verdict: Verdict): void;
  /** In the order in which they came: `node-1 is untrusted (kernel_unknown)`. One that goes on is said once. */
  readonly raised: readonly string[];
  /** How many verdicts on this node there were. */
  verdictsOn(node: string): number;
}

export function createAlarms(): Alarms {
  const raised: string[] = [];
  const verdicts = new Map<string, number>();
  return {
    raised,
    see(node, verdict) {
      verdicts.set(node, (verdicts.get(node) ?? 0) + 1);
      const alarm = alarmOf(node, verdict);
      if (alarm !== null && !raised.includes(alarm)) raised.push(alarm);
    },
    verdictsOn: (node) => verdicts.get(node) ?? 0,
  };
}

/** As the alert rules of `manifests/prometheus` have it; what they give half an hour to end is no alarm, but silence is. */
function alarmOf(node: string, { state, reasons: [first] }: Verdict): string | null {
  const isLie = state !== 'trusted' && first !== undefined && classOf(first.code) === 'failed';
  if (state !== 'untrusted' && state !== 'unknown' && !isLie) return null;
  return `${node} is ${state} (${first?.code ?? 'no reason'})`;
}
