import { ClusterError } from '../marking/ports.ts';

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
