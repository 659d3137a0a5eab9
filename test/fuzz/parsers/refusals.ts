import { Rejection } from '../../../attest-server/wire/rejection.ts';

export const isRejection = (error: unknown): error is Rejection => error instanceof Rejection;

/** A fault that lies beyond so many bytes; one without an offset lies beyond any. */
export const isBeyond =
  (bytes: number) =>
  (error: unknown): boolean =>
    isRejection(error) && (error.offset === undefined || error.offset >= bytes);

/** A document that was JSON: its fault has the name of a member. */
export const isMember =
  (...wholes: readonly string[]) =>
  (error: unknown): boolean =>
    isRejection(error) && error.field !== undefined && !wholes.includes(error.field);
