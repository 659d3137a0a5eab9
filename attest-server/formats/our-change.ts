import type { NodeState } from '../wire/verdict.ts';

/** Changes of ours that can turn a verdict although the node is as it was: closed lists, in metrics and in what is kept. */

export const ourChanges = ['policy', 'references', 'server'] as const;
export type OurChange = (typeof ourChanges)[number];

/** Verdicts, by the rules under which a node was last trusted, on an answer that the rules in force do not trust. */
export const turns = ['trusted', 'pending'] as const;
export type EarlierVerdict = (typeof turns)[number];

/** The verdict of those rules, while they have to be asked of each answer. */
export function turnedIn<T>(by: { readonly turned: T | null } | null | undefined): T | null {
  return by?.turned ?? null;
}

/** The same where the state is our doing. That a new boot is not proven yet is so by any rules. */
export function turnedByUs<T extends { readonly as: EarlierVerdict }>(
  by: { readonly turned: T | null } | null | undefined,
  state: NodeState,
): T | null {
  const turned = turnedIn(by);
  if (turned === null || state === 'trusted' || state === 'unknown') return null;
  return state === 'pending' && turned.as === 'pending' ? null : turned;
}
