/**
 * How members of a type are merged, by path (`status.conditions`). A list that is not named is replaced as a
 * whole, and a map member by member. Kubernetes' own types say it in their source (`listType`,
 * `patchStrategy`), custom ones in their schema.
 */
export type ListShapes = ReadonlyMap<string, ListShape>;

export type ListShape =
  | {
      /** Members by which items are told apart; null: the item is its own key. */
      readonly keys: readonly string[] | null;
      /** Whether a strategic merge patch merges it too. */
      readonly strategic: boolean;
    }
  /** A map that is replaced as a whole. */
  | 'atomic';

const both = (...keys: readonly string[]): ListShape => ({ keys, strategic: true });

export const metadataLists: readonly (readonly [string, ListShape])[] = [
  ['metadata.finalizers', { keys: null, strategic: true }],
  ['metadata.ownerReferences', both('uid')],
];

/** Taints are not here: they are replaced as a whole by both kinds of patches. */
export const nodeLists: ListShapes = new Map([
  ...metadataLists,
  ['spec.podCIDRs', { keys: null, strategic: true }],
  ['status.conditions', both('type')],
  ['status.addresses', both('type')],
]);

export const usualLists: ListShapes = new Map(metadataLists);
