import { hash } from 'node:crypto';

/** A tag that changes with the answer. It is made of the bytes, so that nobody must know their sources. */
export function entityTag(text: string): string {
  return `"${hash('sha256', text, 'base64url').slice(0, 27)}"`;
}

/** Whether `If-None-Match` names this tag: the caller has this answer already (RFC 9110, 13.1.2). */
export function isKnown(tag: string, ifNoneMatch: string | undefined): boolean {
  if (ifNoneMatch === undefined) return false;
  if (ifNoneMatch.trim() === '*') return true;
  // A proxy that changes the coding of an answer may have made it a weak one.
  return ifNoneMatch.split(',').some((each) => each.trim().replace(/^W\//, '') === tag);
}
