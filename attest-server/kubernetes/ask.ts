import type { z } from 'zod';
import { ClusterError } from '../marking/ports.ts';
import type { ClusterRequest, Requests } from './requests.ts';

/** The object that the API answers with. @throws ClusterError, also if it has another form */
export async function askFor<T>(
  requests: Pick<Requests, 'json'>,
  asked: ClusterRequest,
  schema: z.ZodType<T>,
): Promise<T> {
  const answer = schema.safeParse(await requests.json(asked));
  if (answer.success) return answer.data;
  const { verb, resource, name } = asked;
  throw new ClusterError(
    'failed',
    `${verb} ${resource} ${name}: the API of the cluster answers with another kind of object`,
    null,
    answer.error,
  );
}

/** Null if the cluster has no such object. */
export async function orNull<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (isNotFound(error)) return null;
    throw error;
  }
}

export function isNotFound(error: unknown): boolean {
  return error instanceof ClusterError && error.reason === 'not_found';
}
