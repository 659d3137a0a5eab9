/** What of ours can turn a verdict although the node is as it was: closed lists, in metrics and in what is kept. */

export const ourChanges = ['policy', 'references', 'server'] as const;
export type OurChange = (typeof ourChanges)[number];

/** What the rules by which a node was last trusted say of an answer that those in force do not trust. */
export const turns = ['trusted', 'pending'] as const;
export type Turn = (typeof turns)[number];

/** How a verdict turned, where that is our doing: then its taint waits for a person. */
export function turnedByUs<T>(by: { readonly turned: T | null } | null | undefined): T | null {
  return by?.turned ?? null;
}
