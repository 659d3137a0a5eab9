import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readPrivate, writePrivate } from '../state/private-file.ts';
import type { Caller } from './roles.ts';

export interface Tokens {
  /** Takes the `Authorization` header; null if it carries no token of ours. */
  authenticate(authorization: string | undefined): Caller | null;
}

const files = [
  { file: 'admin.token', caller: { name: 'token:admin', role: 'admin', expiresAt: null } },
  { file: 'reader.token', caller: { name: 'token:reader', role: 'reader', expiresAt: null } },
] as const satisfies readonly { file: string; caller: Caller }[];

/**
 * Reads the tokens of the first minutes from the state directory; a missing one is made: 32 random bytes,
 * base64url, mode 0600. Only their SHA-256 stays in memory.
 * @throws Error for a file that others can read, or that holds no token
 */
export function readTokens(stateDir: string): Tokens {
  const known = files.map(({ file, caller }) => ({ caller, digest: sha256(read(join(stateDir, file))) }));
  return {
    authenticate(authorization) {
      const token = /^Bearer ([A-Za-z0-9_-]{1,256})$/i.exec(authorization ?? '')?.[1];
      if (token === undefined) return null;
      const digest = sha256(token);
      let caller: Caller | null = null;
      // Every one is compared, each in constant time: the time tells neither which matched nor how far.
      for (const candidate of known) if (timingSafeEqual(candidate.digest, digest)) caller = candidate.caller;
      return caller;
    },
  };
}

function read(path: string): string {
  if (!existsSync(path)) writePrivate(path, `${randomBytes(32).toString('base64url')}\n`, 'new');
  const token = readPrivate(path).trim();
  if (!/^[A-Za-z0-9_-]{43,256}$/.test(token))
    throw new Error(
      `${path} contains no token: remove the file, and the server makes a new one at its next start`,
    );
  return token;
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
