import type { GateOrder } from '../wire/gate.ts';
import { type Role, roles } from '../wire/roles.ts';
import type { AspectName, Reason, Verdict } from '../wire/verdict.ts';
import { bySeverity, stateOf, weigh } from './finding.ts';
import type { GroupBase } from './group.ts';

/** The verdict on an answer of a role that makes no node trusted. */
export function withoutTrust(verdict: Verdict, by: Role): Verdict {
  if (verdict.state === 'unsupported') return verdict;
  const state = stateOf(verdict, [], by);
  const tellsWhy = verdict.reasons.some(({ severity }) => severity === 'fail');
  if (state === 'untrusted' || tellsWhy) return { ...verdict, state };
  return { ...verdict, state, reasons: [awaitsAgent(by), ...verdict.reasons].toSorted(bySeverity) };
}

function awaitsAgent(by: Role): Reason {
  return weigh(
    {
      code: 'rebooted',
      aspect: 'boot',
      source: 'tpm',
      expected: 'an answer of the agent since this boot',
      actual: `an answer of the ${by}`,
      text: `Since the node booted only its ${by} has answered, not its agent.`,
      evidence: null,
    },
    { require: [], severity: {} },
  );
}

/** The order for a gate before anything of its node is proven. */
export function gateBefore({ mode, gate }: Pick<GroupBase, 'mode' | 'gate'>): GateOrder {
  return { mode, proven: false, codes: [], ...gate };
}

/** The order for a gate once its node is judged. */
export function gateOrderOf(verdict: Verdict, { mode, gate }: Pick<GroupBase, 'mode' | 'gate'>): GateOrder {
  const proven = roles.gate.proves.every((aspect) => verdict.aspects[aspect]?.status === 'affirming');
  return { mode, proven, codes: proven ? [] : lackedIn(verdict), ...gate };
}

/** Codes of identity and boot for which one of them is not affirmed. */
function lackedIn({ aspects, reasons }: Verdict): GateOrder['codes'] {
  const lacking = roles.gate.proves.filter((aspect) => aspects[aspect]?.status !== 'affirming');
  const codes = reasons.filter(({ aspect }) => lacking.includes(aspect)).map(({ code }) => code);
  return [...new Set(codes)].slice(0, 16);
}

/**
 * Whether a role that makes no node trusted says of a boot what was known of it: then its verdict, which is of less, changes
 * nothing. That it could not read something proves nothing against what the agent has shown.
 */
export function addsNothing(before: Verdict, verdict: Verdict, by: Role): boolean {
  const isSame = roles[by].proves.every((aspect) => failedIn(before, aspect) === failedIn(verdict, aspect));
  return isSame && (before.state === 'trusted' || before.policy === verdict.policy);
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
