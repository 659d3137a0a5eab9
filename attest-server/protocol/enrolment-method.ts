/** By which word an endorsement key became a node. */
export const boundWords = ['pin', 'join-token', 'approval', 'cloud', 'vendor', 'first-use'] as const;
export type Bound = (typeof boundWords)[number];
