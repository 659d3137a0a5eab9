import { hash } from 'node:crypto';
import { ownBytes } from '../wire/own-bytes.ts';
import { Rejection } from '../wire/rejection.ts';

/** For the compiler alone, as in proven.ts. */
declare class HashSeal {
  protected readonly hashed: never;
}

/** Bytes of which the digest was computed here. */
export interface HashedPart extends HashSeal {
  /** SHA-256 of `bytes`, 64 lower-case hex digits. */
  readonly digest: string;
  readonly bytes: Buffer;
}

export function hashPart(bytes: Buffer): HashedPart {
  return sealed({ digest: hash('sha256', bytes, 'hex'), bytes });
}

/** The rejection of bytes that were sent under a digest that is not theirs. */
export function otherDigest(field: string): Rejection {
  return new Rejection('malformed', `${field}: its bytes have another SHA-256 digest`, { field });
}

/** The same bytes in memory of their own, which nobody else writes to or holds. */
export function ownPart({ digest, bytes }: HashedPart): HashedPart {
  return sealed({ digest, bytes: ownBytes(bytes) });
}

function sealed(part: { readonly digest: string; readonly bytes: Buffer }): HashedPart {
  // The one place that makes it: the seal exists for the compiler only.
  return part as HashedPart;
}
