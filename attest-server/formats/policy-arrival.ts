/** How a policy came into force: at a start, by SIGHUP, from a signed directory, or by a person's word. */
export const policyArrivals = ['start', 'reload', 'directory', 'rollback', 'allowed'] as const;
export type PolicyArrival = (typeof policyArrivals)[number];
