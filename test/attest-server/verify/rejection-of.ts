import { Rejection } from '../../../attest-server/wire/rejection.ts';

/** What the work is refused with, null where it is done; any other exception is thrown on. */
export function rejectionOf(work: () => unknown): Rejection | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof Rejection) return error;
    throw error;
  }
}
