import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  type Stats,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from './run.ts';
import type { Tcti } from './tcti.ts';
import { ToolError } from './tool-error.ts';

export interface LockRequest {
  /** Absolute path of what is locked. */
  readonly file: string;
  /** Its kind. Default: `file`, this user's own, made if it is missing; the others are there already, and may be anybody's. */
  readonly kind?: LockKind;
  readonly timeoutMs: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export type LockKind = 'file' | 'device' | 'folder';

/** The thing that programs lock while they use one TPM. */
export interface LockPlace {
  readonly file: string;
  readonly kind: LockKind;
}

/**
 * The lock of this TPM. Without `lockDir` it is the device itself, or the folder of the socket: programs of all users exclude
 * each other, only who may open it can hold it, and nothing is made that somebody could have made before. A TPM without a path
 * (tabrmd, a network) has a file of this user: programs of two users do not see each other there.
 * @throws ToolError `lock_failed`
 */
export async function lockPlace(tcti: Tcti, lockDir: string | undefined): Promise<LockPlace> {
  if (lockDir === undefined && tcti.path !== null) {
    if (tcti.text.startsWith('swtpm:')) return { file: dirname(tcti.path), kind: 'folder' };
    // Who holds the raw device open keeps the tools out, so its lock is the resource manager's. Without one, or where
    // that is closed to this user, the kernel lets one program in at a time.
    const device = tcti.path.replace(/tpm(\d+)$/, 'tpmrm$1');
    const isManaged = device !== tcti.path || tcti.hasResourceManager;
    if (tcti.text.startsWith('device:') && isManaged && isReadable(device))
      return { file: device, kind: 'device' };
  }
  return { file: await prepareLockFile(lockDir ?? defaultLockDir(), tcti.identity), kind: 'file' };
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** The same folder for all programs of this user on this host. */
function defaultLockDir(uid: number = process.getuid?.() ?? 0): string {
  if (uid === 0) return '/run/node-tpm2';
  return existsSync(`/run/user/${uid}`) ? `/run/user/${uid}/node-tpm2` : `/dev/shm/node-tpm2-${uid}`;
}

/**
 * The lock file of one TPM in `dir`, which is made with mode 0700 where it is missing.
 * @throws ToolError `lock_failed` if the folder is a link, another user's, or open to others
 */
export async function prepareLockFile(dir: string, identity: string): Promise<string> {
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (cause) {
    if (!isCode(cause, 'EEXIST')) throw lockFailed(`the lock folder ${dir} could not be made`, cause);
  }
  const found = lstatSync(dir);
  if (!found.isDirectory()) throw lockFailed(`the lock folder ${dir} is not a folder`);
  if (found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0)
    throw lockFailed(`the lock folder ${dir} must belong to this user and be writable by nobody else`);
  // Late: few have such a TPM, and it would stay in memory for all.
  const { hash } = await import('node:crypto');
  return join(dir, `${hash('sha256', identity, 'hex').slice(0, 32)}.lock`);
}

/**
 * Takes an exclusive lock that other programs see, and returns how to release it. The lock belongs to our open
 * file description, which `flock` locks through an inherited descriptor: the kernel releases it when we die.
 * @throws ToolError `lock_failed` (retryable if another program held it for the whole time), `aborted`, `missing_program`
 */
export async function acquireLock(request: LockRequest): Promise<() => void> {
  const { kind = 'file' } = request;
  const fd = kind === 'file' ? openLockFile(request.file) : openPlace(request.file, kind);
  try {
    const seconds = (request.timeoutMs / 1000).toFixed(3);
    await run('flock', ['-x', '-w', seconds, '3'], {
      timeoutMs: request.timeoutMs + 1000,
      maxOutputBytes: 1024,
      descriptors: [fd],
      ...(request.env && { env: request.env }),
      ...(request.signal && { signal: request.signal }),
    });
  } catch (cause) {
    closeSync(fd);
    if (!(cause instanceof ToolError) || (cause.code !== 'failed' && cause.code !== 'timeout')) throw cause;
    // flock(1): 1 is a lock that somebody else has; any other status is a file that cannot be locked.
    if (cause.code === 'failed' && cause.exitCode !== 1)
      throw lockFailed(`${request.file} could not be locked`, cause);
    throw lockFailed(`another program held ${request.file} for ${request.timeoutMs} ms`, cause, true);
  }
  let isHeld = true;
  return () => {
    // Closed once more, its number could be that of another file.
    if (isHeld) closeSync(fd);
    isHeld = false;
  };
}

function openLockFile(file: string): number {
  const flags = constants.O_RDWR | constants.O_NOFOLLOW;
  const open = () => {
    try {
      return openSync(file, flags | constants.O_CREAT | constants.O_EXCL, 0o600);
    } catch (cause) {
      if (isCode(cause, 'EEXIST')) return openSync(file, flags);
      throw cause;
    }
  };
  return opened(
    open,
    (found) => found.isFile() && found.uid === process.getuid?.(),
    (cause) => lockFailed(`the lock file ${file} could not be opened`, cause),
    `the lock file ${file} is not a plain file of this user`,
  );
}

/** Opens the path that the operator named, as the tools do: a link leads to the same. */
function openPlace(path: string, kind: Exclude<LockKind, 'file'>): number {
  return opened(
    // Without O_NONBLOCK, a pipe in its place would hold us.
    () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY),
    (found) => (kind === 'folder' ? found.isDirectory() : found.isCharacterDevice()),
    (cause) => {
      const remedy =
        kind === 'folder' && isCode(cause, 'EACCES')
          ? `: who may use the TPM must be able to list its folder (chgrp GROUP ${path}; chmod g+rx ${path})`
          : '';
      return lockFailed(`${path} could not be opened to lock it${remedy}`, cause);
    },
    `${path} is no ${kind}`,
  );
}

/** @returns the descriptor of what is as expected */
function opened(
  open: () => number,
  isExpected: (found: Stats) => boolean,
  notOpened: (cause: unknown) => ToolError,
  unexpected: string,
): number {
  let fd: number;
  try {
    fd = open();
  } catch (cause) {
    throw notOpened(cause);
  }
  if (isExpected(fstatSync(fd))) return fd;
  closeSync(fd);
  throw lockFailed(unexpected);
}

function lockFailed(message: string, cause?: unknown, retryable = false): ToolError {
  return new ToolError(message, { code: 'lock_failed', tool: 'flock', retryable, cause });
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
