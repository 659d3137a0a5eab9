import { hash } from 'node:crypto';
import { constants, existsSync } from 'node:fs';
import { type FileHandle, lstat, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './run.ts';
import { ToolError } from './tool-error.ts';

export interface LockRequest {
  /** Absolute path of the lock file. */
  readonly file: string;
  readonly timeoutMs: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** The same folder for all programs of this user on this host. */
export function defaultLockDir(uid: number = process.getuid?.() ?? 0): string {
  if (uid === 0) return '/run/node-tpm2';
  return existsSync(`/run/user/${uid}`) ? `/run/user/${uid}/node-tpm2` : `/dev/shm/node-tpm2-${uid}`;
}

/**
 * The lock file of one TPM in `dir`, which is made with mode 0700 where it is missing.
 * @throws ToolError `lock_failed` where the folder is a link, another user's, or open to others
 */
export async function prepareLockFile(dir: string, identity: string): Promise<string> {
  await mkdir(dir, { mode: 0o700 }).catch((cause: unknown) => {
    if (!isCode(cause, 'EEXIST')) throw lockFailed(`the lock folder ${dir} could not be made`, cause);
  });
  const found = await lstat(dir);
  if (!found.isDirectory()) throw lockFailed(`the lock folder ${dir} is not a folder`);
  if (found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0)
    throw lockFailed(`the lock folder ${dir} must belong to this user and be writable by nobody else`);
  return join(dir, `${hash('sha256', identity, 'hex').slice(0, 32)}.lock`);
}

/**
 * Takes an exclusive lock that other programs see, and returns how to release it. The lock belongs to our open
 * file description, which `flock` locks through an inherited descriptor: the kernel releases it when we die.
 * @throws ToolError `lock_failed` (retryable where another program held it for the whole time), `aborted`, `missing_program`
 */
export async function acquireLock(request: LockRequest): Promise<() => Promise<void>> {
  const handle = await openLockFile(request.file);
  try {
    const seconds = (request.timeoutMs / 1000).toFixed(3);
    await run('flock', ['-x', '-w', seconds, '3'], {
      timeoutMs: request.timeoutMs + 1000,
      maxOutputBytes: 1024,
      descriptors: [handle.fd],
      ...(request.env && { env: request.env }),
      ...(request.signal && { signal: request.signal }),
    });
  } catch (cause) {
    await handle.close();
    if (!(cause instanceof ToolError) || (cause.code !== 'failed' && cause.code !== 'timeout')) throw cause;
    // flock(1): 1 is a lock that somebody else has; any other status is a file that cannot be locked.
    if (cause.code === 'failed' && cause.exitCode !== 1)
      throw lockFailed(`${request.file} could not be locked`, cause);
    throw lockFailed(`another program held ${request.file} for ${request.timeoutMs} ms`, cause, true);
  }
  return () => handle.close();
}

async function openLockFile(file: string): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_NOFOLLOW;
  const handle = await open(file, flags | constants.O_CREAT | constants.O_EXCL, 0o600)
    .catch((cause: unknown) => {
      if (isCode(cause, 'EEXIST')) return open(file, flags);
      throw cause;
    })
    .catch((cause: unknown) => {
      throw lockFailed(`the lock file ${file} could not be opened`, cause);
    });
  const found = await handle.stat();
  if (found.isFile() && found.uid === process.getuid?.()) return handle;
  await handle.close();
  throw lockFailed(`the lock file ${file} is not a plain file of this user`);
}

function lockFailed(message: string, cause?: unknown, retryable = false): ToolError {
  return new ToolError(message, { code: 'lock_failed', tool: 'flock', retryable, cause });
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
