import { z } from 'zod';

/** When something ends that a person begins now. */
export interface Ending {
  readonly until?: string | undefined;
  readonly forSeconds?: number | undefined;
}

/** Until a moment, or for so many seconds: members of a request. @param longest seconds */
export function endingMembers(longest: number) {
  return { until: z.iso.datetime().optional(), forSeconds: z.int().min(1).max(longest).optional() };
}

export function isOneEnding({ until, forSeconds }: Ending): boolean {
  return (until === undefined) !== (forSeconds === undefined);
}

/** The issue of a body that gives neither or both. */
export const notOneEnding = { path: ['until'], message: 'give either until or forSeconds' };
