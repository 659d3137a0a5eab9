import { hash } from 'node:crypto';
import type { NodeToMark } from './judged-node.ts';
import { camelCase, firstSentence, type Marks } from './marks.ts';
import { taintText } from './marks-on-node.ts';
import { seconds } from './patch.ts';
import type { Exemption } from './ports.ts';

/** Codes that the resource names; of more, `assay why` tells. */
const mostCodes = 16;

/** The status of a NodeAttestation, as manifests/base/crds has it. @param at milliseconds since the epoch */
export function attestationStatus(
  judged: NodeToMark,
  marks: Marks,
  exemption: Exemption | null,
  at: number,
): Readonly<Record<string, unknown>> {
  const { state, code, text, verdict, group, verifiedAt, bootedAt, since } = judged;
  const isShown = state !== 'unknown' && state !== 'unsupported';
  const aspects = Object.entries(isShown ? (verdict?.aspects ?? {}) : {});
  const selfReported = aspects.filter(([, is]) => is.source === 'host' && is.status === 'affirming');
  const message = text === null ? null : firstSentence(text);
  return {
    state,
    ...(code !== null && { reason: code }),
    ...(message !== null && { message }),
    codes: [...new Set(verdict?.reasons.map((reason) => reason.code) ?? [])].slice(0, mostCodes),
    require: [...(verdict?.require ?? group.require)],
    aspects: Object.fromEntries(aspects.map(([name, { status, source }]) => [name, { status, source }])),
    mode: group.mode,
    group: group.name,
    ...(group.trial && { trial: true }),
    ...(verdict !== null && { policy: verdict.policy }),
    ...(bootedAt !== null && { boot: { bootedAt: seconds(bootedAt) } }),
    ...(verifiedAt !== null && { verifiedAt: seconds(verifiedAt) }),
    selfReported: selfReported.map(([name]) => name).sort(),
    marks: {
      taints: marks.taints.map(taintText),
      trustedLabel: marks.label,
      ...(marks.suppressed !== null && { suppressed: marks.suppressed }),
      ...(exemption !== null && { exemptUntil: seconds(exemption.until) }),
    },
    conditions: [
      {
        type: 'Trusted',
        status: state === 'trusted' ? 'True' : state === 'untrusted' ? 'False' : 'Unknown',
        reason: state === 'trusted' ? 'Trusted' : camelCase(code ?? state),
        message: message ?? '',
        lastTransitionTime: seconds(since ?? at),
      },
    ],
  };
}

/** What of it is a transition: all else waits for the hourly refresh. */
export function transitionOf({ state, code, group }: NodeToMark, marks: Marks): string {
  const { taints, label, suppressed } = marks;
  return JSON.stringify([state, code, group.name, group.mode, taints, label, suppressed]);
}

/** Where in an hour a node's refresh falls, from 0 to 1: 5,000 of them are spread, and stay so over restarts. */
export function shareOfHour(name: string): number {
  return Number.parseInt(hash('sha256', name, 'hex').slice(0, 8), 16) / 0x1_0000_0000;
}
