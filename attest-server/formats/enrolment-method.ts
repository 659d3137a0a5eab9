/** How an endorsement key became a node: `bound` in the API. */
export const enrolmentMethods = ['pin', 'join-token', 'approval', 'cloud', 'vendor', 'first-use'] as const;
export type EnrolmentMethod = (typeof enrolmentMethods)[number];
