import { hash } from 'node:crypto';
import { z } from 'zod';
import type { NodeState } from '../wire/verdict.ts';
import type { NodeToMark } from './judged-node.ts';
import { camelCase, firstSentence, type Marks } from './marks.ts';
import { taintText } from './marks-on-node.ts';
import { seconds } from './patch.ts';
import type { Exemption } from './ports.ts';

/** Codes that the resource names; of more, `assay why` tells. */
const mostCodes = 16;

interface AttestationStatus extends Readonly<Record<string, unknown>> {
  readonly state: NodeState;
  readonly conditions: readonly [TrustedCondition];
}

interface TrustedCondition {
  readonly type: 'Trusted';
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
}

/**
 * The status of a NodeAttestation, as manifests/base/crds has it. What is empty is left out: the API makes null of a map that
 * is applied without any key, and refuses that by the schemas of earlier versions.
 * @param at milliseconds since the epoch
 */
export function attestationStatus(
  judged: NodeToMark,
  marks: Marks,
  exemption: Exemption | null,
  at: number,
): AttestationStatus {
  const { state, code, text, verdict, group, verifiedAt, bootedAt, since } = judged;
  const isShown = state !== 'unknown' && state !== 'unsupported';
  const aspects = Object.entries(isShown ? (verdict?.aspects ?? {}) : {});
  const selfReported = aspects.filter(([, is]) => is.source === 'host' && is.status === 'affirming');
  const message = text === null ? null : firstSentence(text);
  const codes = [...new Set(verdict?.reasons.map((reason) => reason.code) ?? [])];
  const taints = marks.taints.map(taintText);
  return {
    state,
    ...(code !== null && { reason: code }),
    ...(message !== null && { message }),
    ...(codes.length > 0 && { codes: codes.slice(0, mostCodes) }),
    require: [...(verdict?.require ?? group.require)],
    ...(aspects.length > 0 && {
      aspects: Object.fromEntries(aspects.map(([name, { status, source }]) => [name, { status, source }])),
    }),
    mode: group.mode,
    group: group.name,
    ...(group.trial && { trial: true }),
    ...(verdict !== null && { policy: verdict.policy }),
    ...(bootedAt !== null && { boot: { bootedAt: seconds(bootedAt) } }),
    ...(verifiedAt !== null && { verifiedAt: seconds(verifiedAt) }),
    ...(selfReported.length > 0 && { selfReported: selfReported.map(([name]) => name).sort() }),
    marks: {
      ...(taints.length > 0 && { taints }),
      trustedLabel: marks.label,
      ...(marks.suppressed !== null && { suppressed: marks.suppressed }),
      ...(exemption !== null && { exemptUntil: seconds(exemption.until) }),
    },
    conditions: [
      {
        type: 'Trusted',
        status: trustedStatus(judged),
        reason: state === 'trusted' ? (group.trial ? 'Trial' : 'Trusted') : camelCase(code ?? state),
        message: message ?? '',
        lastTransitionTime: seconds(since ?? at),
      },
    ],
  };
}

/** Of a status that the API does not take, what each version of its definition knows: the state alone. */
export function leastStatus({ state, conditions: [trusted] }: AttestationStatus): AttestationStatus {
  return { state, conditions: [{ ...trusted, reason: camelCase(state), message: '' }] };
}

/** A TPM that is a program proves nothing, whatever it signed. */
function trustedStatus({ state, group }: Pick<NodeToMark, 'state' | 'group'>): TrustedCondition['status'] {
  if (state === 'trusted') return group.trial ? 'Unknown' : 'True';
  return state === 'untrusted' ? 'False' : 'Unknown';
}

/** The members whose change is a transition: all else waits for the hourly refresh. */
export function transitionOf({ state, code, group }: NodeToMark, marks: Marks): string {
  const { taints, label, suppressed } = marks;
  const trusted = trustedStatus({ state, group });
  return JSON.stringify([
    state,
    code,
    trusted,
    group.name,
    group.mode,
    group.trial ?? false,
    taints.map(taintText),
    label,
    suppressed,
  ]);
}

const applied = z.object({
  state: z.string(),
  reason: z.string().nullish(),
  group: z.string(),
  mode: z.string(),
  trial: z.boolean().nullish(),
  marks: z.object({
    taints: z.array(z.string()).nullish(),
    trustedLabel: z.boolean(),
    suppressed: z.string().nullish(),
  }),
  conditions: z.array(z.object({ type: z.string(), status: z.string() })),
});

/** The same of a resource that is there; null: it is none that this server would write. */
export function transitionIn(status: unknown): string | null {
  const found = applied.safeParse(status).data;
  if (found === undefined) return null;
  const { state, reason, group, mode, trial, marks, conditions } = found;
  const trusted = conditions.find(({ type }) => type === 'Trusted')?.status;
  return JSON.stringify([
    state,
    reason ?? null,
    trusted,
    group,
    mode,
    trial ?? false,
    marks.taints ?? [],
    marks.trustedLabel,
    marks.suppressed ?? null,
  ]);
}

/** Where in an hour a node's refresh falls, from 0 to 1: 5,000 of them are spread, and stay so over restarts. */
export function shareOfHour(name: string): number {
  return Number.parseInt(hash('sha256', name, 'hex').slice(0, 8), 16) / 0x1_0000_0000;
}
