import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { closeSync, constants, fstatSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Caller } from './roles.ts';

export interface Tokens {
  /** Takes the `Authorization` header; null where it carries no token of ours. */
  authenticate(authorization: string | undefined): Caller | null;
}

const files = [
  { file: 'admin.token', caller: { name: 'token:admin', role: 'admin' } },
  { file: 'reader.token', caller: { name: 'token:reader', role: 'reader' } },
] as const satisfies readonly { file: string; caller: Caller }[];

/**
 * Reads the tokens of the first minutes from the state directory; a missing one is made: 32 random bytes,
 * base64url, mode 0600. Only their SHA-256 stays in memory.
 * @throws Error for a file that others can read, or that holds no token
 */
export function readTokens(stateDir: string): Tokens {
  const known = files.map(({ file, caller }) => {
    const path = join(stateDir, file);
    create(path);
    return { caller, digest: sha256(read(path)) };
  });
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

function create(path: string): void {
  let file: number;
  try {
    file = openSync(path, 'wx', 0o600);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') return;
    throw new Error(`${path} cannot be written: ${String(cause)}`, { cause });
  }
  try {
    writeSync(file, `${randomBytes(32).toString('base64url')}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function read(path: string): string {
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { mode, size } = fstatSync(file);
    if ((mode & 0o077) !== 0) throw new Error(`${path} can be read by others: run chmod 600 ${path}`);
    const token = size > 4096 ? '' : readFileSync(file, 'utf8').trim();
    if (!/^[A-Za-z0-9_-]{43,256}$/.test(token))
      throw new Error(`${path} holds no token: remove it, and the next start makes a new one`);
    return token;
  } finally {
    closeSync(file);
  }
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
