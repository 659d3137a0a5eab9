import type { ReasonClass, ReasonCode } from './reasons.ts';

export const nodeStates = ['pending', 'trusted', 'untrusted', 'unknown', 'unsupported'] as const;
export type NodeState = (typeof nodeStates)[number];

export const aspects = ['identity', 'boot', 'runtime', 'disk', 'firewall', 'host'] as const;
export type Aspect = (typeof aspects)[number];

/** AR4SI trustworthiness tiers (draft-ietf-rats-ar4si). */
export type AspectStatus = 'affirming' | 'warning' | 'contraindicated' | 'none';

/** Who vouches: what the TPM signed, what the node merely says, or what the server itself observed. */
export type Source = 'tpm' | 'host' | 'server';
export type Severity = 'fail' | 'warn' | 'info';

/** One finding, as stored, shown by `assay why` and returned by the API. */
export interface Reason {
  readonly code: ReasonCode;
  readonly class: ReasonClass;
  readonly aspect: Aspect;
  readonly severity: Severity;
  readonly source: Source;
  /** What the policy or the reference wants; null where there is nothing to compare with. */
  readonly expected: string | null;
  readonly actual: string | null;
  /** One sentence for a person. */
  readonly text: string;
  /** Digest of the stored evidence and the position in it (an event's index, a PCR), where there is one. */
  readonly evidence: { readonly digest: string; readonly position: string } | null;
}

export interface AspectResult {
  readonly status: AspectStatus;
  readonly source: Source;
}

/** What `policy` decides about one piece of proven evidence. */
export interface Verdict {
  readonly state: NodeState;
  readonly reasons: readonly Reason[];
  readonly aspects: Partial<Record<Aspect, AspectResult>>;
  /** The group whose rules applied, the aspects it requires, its mode. */
  readonly group: string;
  readonly require: readonly Aspect[];
  readonly mode: 'observe' | 'label' | 'enforce';
  /** `name@revision` of the policy: the first 12 hex digits of the SHA-256 of its text. */
  readonly policy: string;
}
