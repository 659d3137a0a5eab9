import type { GateAction, GateOpening, GateOrder } from '../../attest-server/wire/gate.ts';

/** The knowledge of a gate at one moment. Times are monotonic milliseconds. */
export interface GateStatus {
  /** When it began to wait. */
  readonly since: number;
  /** The server's latest order in this run; null before that. */
  readonly order: GateOrder | null;
  /** Its order in an earlier run; null if none is kept. */
  readonly kept: KeptOrder | null;
  /** Each server was tried, and none said anything. */
  readonly askedInVain: boolean;
  /** The reason of an operator who let the node go on; null: none did. */
  readonly operator: string | null;
  /** For how long this machine's own configuration lets it wait; null: as long as the policy does. */
  readonly timeout: number | null;
}

/** The part of an order that holds from one boot to the next. */
export type KeptOrder = Pick<GateOrder, 'mode' | 'timeout' | 'onTimeout'>;

export type Decision =
  | { readonly do: 'open'; readonly why: GateOpening }
  /** Its time is over: kubelet does not start. */
  | { readonly do: 'hold' }
  /** @property until null: without end; `after` is what happens then */
  | { readonly do: 'wait'; readonly until: number | null; readonly after: GateAction };

/** For how long a gate looks for a server that may know better, where the last word was that it holds nothing back. */
const observedFor = 15_000;

/** The one place that decides whether kubelet may start. */
export function decide(status: GateStatus, now: number): Decision {
  const { since, order, kept, askedInVain, operator } = status;
  if (operator !== null) return { do: 'open', why: 'operator' };
  if (order?.mode === 'observe') return { do: 'open', why: 'observe' };
  if (order?.proven === true) return { do: 'open', why: 'affirmed' };
  const isObserved = order === null && kept?.mode === 'observe';
  if (isObserved && (askedInVain || now - since >= observedFor)) return { do: 'open', why: 'kept' };
  const { until, after } = endOf(status, order ?? kept);
  if (until === null || now < until) {
    if (!isObserved) return { do: 'wait', until, after };
    return {
      do: 'wait',
      until: Math.min(until ?? Number.POSITIVE_INFINITY, since + observedFor),
      after: 'open',
    };
  }
  return after === 'open' ? { do: 'open', why: 'timeout' } : { do: 'hold' };
}

/** When its time is over. Only the policy can open it then: what the machine itself says can only hold. */
function endOf(
  { since, timeout }: Pick<GateStatus, 'since' | 'timeout'>,
  policy: KeptOrder | null,
): { readonly until: number | null; readonly after: GateAction } {
  const byPolicy = policy?.timeout == null ? null : since + policy.timeout * 1000;
  const own = timeout === null ? null : since + timeout;
  if (byPolicy !== null && (own === null || byPolicy <= own))
    return { until: byPolicy, after: policy?.onTimeout ?? 'hold' };
  return { until: own, after: 'hold' };
}
