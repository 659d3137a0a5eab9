// Closed lists of what marking does and does not: labels of metrics, and words that the API shows.

/** Effects of a patch on a Node. */
export const markActions = [
  ...(['taint_add', 'taint_remove', 'taint_change', 'label_add', 'label_remove'] as const),
  ...(['condition_set', 'condition_remove'] as const),
] as const;
export type MarkAction = (typeof markActions)[number];

export const enforcementActions = [...markActions, 'attestation', 'event'] as const;
export type EnforcementAction = (typeof enforcementActions)[number];

/**
 * Why a taint waits; `limiter` and `doubt` end by themselves. `our_change`: policy, references or server are others, and not
 * what the node shows.
 */
export const delays = ['breaker', 'standing_cap', 'limiter', 'doubt', 'our_change'] as const;
export type Delay = (typeof delays)[number];

/** Why a Node lacks a mark that its verdict asks for, or keeps one that it does not. */
export const suppressions = [
  ...delays,
  ...(['paused', 'exempt', 'control_plane', 'own_node', 'autoscaler', 'settling'] as const),
] as const;
export type Suppression = (typeof suppressions)[number];

/** Content of a NodeAttestation that could not be written: the earlier one, the state alone, or it is not there. */
export const wrongResources = ['old', 'least', 'none'] as const;
export type WrongResource = (typeof wrongResources)[number];

/** Why the server does not trust its own view. */
export const doubts = ['api', 'clock', 'upgrade'] as const;
export type Doubt = (typeof doubts)[number];

/**
 * Why the breaker is open. `drift`: nodes fail the same way, or too many carry a taint already; `our_change`: a change of ours
 * turned verdicts. In both a person decides.
 */
export const breakerScopes = ['drift', 'our_change', ...doubts] as const;
export type BreakerScope = (typeof breakerScopes)[number];

/** Things that an admission policy of ours protects: `assay-marks` and so on. */
export const protectedThings = ['marks', 'attestations', 'latch'] as const;
export type ProtectedThing = (typeof protectedThings)[number];

/**
 * Why admission may let pass what it should deny. `narrowed`: it looks at less than it should. `unread`: nobody knows, since
 * policy or binding cannot be read.
 */
export const admissionFaults = ['missing', 'not_denying', 'narrowed', 'unread'] as const;
export type AdmissionFault = (typeof admissionFaults)[number];

/** Outcomes of a request to the cluster that fails. */
export const clusterErrorReasons = [
  ...([
    'unreachable',
    'forbidden',
    'not_found',
    'conflict',
    'gone',
    'too_many',
    'invalid',
    'failed',
  ] as const),
] as const;
export type ClusterErrorReason = (typeof clusterErrorReasons)[number];
