import type { GateOrder } from '../wire/gate.ts';
import type { Aspect as AspectName, Reason, Verdict } from '../wire/verdict.ts';
import { byWeight, stateOf, weigh } from './finding.ts';
import type { GroupBase } from './group.ts';

/** What a gate proves: it runs before whatever the other aspects are about. */
const provenByGate: readonly AspectName[] = ['identity', 'boot'];

export function isProvenByGate(aspect: AspectName): boolean {
  return provenByGate.includes(aspect);
}

/** A gate makes no node trusted. */
export function byGateAlone(verdict: Verdict): Verdict {
  if (verdict.state === 'unsupported') return verdict;
  const state = stateOf(verdict, [], 'gate');
  const tellsWhy = verdict.reasons.some(({ severity }) => severity === 'fail');
  if (state === 'untrusted' || tellsWhy) return { ...verdict, state };
  return { ...verdict, state, reasons: [awaitsAgent, ...verdict.reasons].toSorted(byWeight) };
}

const awaitsAgent: Reason = weigh(
  {
    code: 'rebooted',
    aspect: 'boot',
    source: 'tpm',
    expected: 'an answer of the agent since this boot',
    actual: 'an answer of the gate',
    text: 'Since the node booted only its gate has answered, not its agent.',
    evidence: null,
  },
  { require: [], severity: {} },
);

/** What a gate is told before anything of its node is proven. */
export function gateBefore({ mode, gate }: Pick<GroupBase, 'mode' | 'gate'>): GateOrder {
  return { mode, proven: false, codes: [], ...gate };
}

/** What a gate is told once its node is judged. */
export function gateOrderOf(verdict: Verdict, { mode, gate }: Pick<GroupBase, 'mode' | 'gate'>): GateOrder {
  const proven = provenByGate.every((aspect) => verdict.aspects[aspect]?.status === 'affirming');
  return { mode, proven, codes: proven ? [] : lackedIn(verdict), ...gate };
}

/** Codes of identity and boot for which one of them is not affirmed. */
function lackedIn({ aspects, reasons }: Verdict): GateOrder['codes'] {
  const lacking = provenByGate.filter((aspect) => aspects[aspect]?.status !== 'affirming');
  const codes = reasons.filter(({ aspect }) => lacking.includes(aspect)).map(({ code }) => code);
  return [...new Set(codes)].slice(0, 16);
}

/**
 * Whether a gate says of a boot what was known of it: then its verdict, which is of less, changes nothing. That it could not
 * read something proves nothing against what the agent has shown.
 */
export function addsNothing(before: Verdict, byGate: Verdict): boolean {
  const isSame = provenByGate.every((aspect) => failedIn(before, aspect) === failedIn(byGate, aspect));
  return isSame && (before.state === 'trusted' || before.policy === byGate.policy);
}

function failedIn({ reasons }: Verdict, of: AspectName): string {
  return reasons
    .filter(
      ({ aspect, severity, code }) => aspect === of && severity === 'fail' && code !== 'facts_unavailable',
    )
    .map(({ code }) => code)
    .sort()
    .join();
}
