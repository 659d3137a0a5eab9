import { randomUUID } from 'node:crypto';
import { lstat, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { closeToVolumeGroup, type OpenedToGroup } from '../attest-server/state/volume-group.ts';
import { AgentError } from './agent-error.ts';

const files = {
  serverCa: 'server-ca.pem',
  enrolled: 'enrolled',
  audit: 'audit-checkpoint.json',
  /** The checkpoint of a log that the server gave up: for a person, nothing reads it. */
  auditEarlier: 'audit-checkpoint.earlier.json',
  authorities: 'server-authorities.json',
  /** The gate's memory: the server's latest order. */
  gate: 'gate.json',
} as const;
type FileName = keyof typeof files;

/**
 * The state of an agent: the server's authority and those announced since, that the server knows this node, and how long its
 * audit log was.
 */
export interface StateDir {
  /** The files that a kubelet had opened to the group of its volume, and that are closed again; null if there were none. */
  readonly wasOpened: OpenedToGroup | null;
  read(name: FileName): Promise<string | null>;
  /** Whole or not at all, mode 0600. */
  write(name: FileName, text: string): Promise<void>;
  remove(name: FileName): Promise<void>;
}

/** Of a program that keeps nothing: what the file of the authority says must do. */
export const noState: StateDir = {
  wasOpened: null,
  read: async () => null,
  async write() {},
  async remove() {},
};

/**
 * Opens the folder, or makes it.
 * @throws AgentError `state_dir` if others may read or change it: who writes there names the server's authority
 */
export async function openStateDir(path: string): Promise<StateDir> {
  let wasOpened: OpenedToGroup | null = null;
  try {
    wasOpened = closeToVolumeGroup(path);
    await mkdir(path, { recursive: true, mode: 0o700 });
    const { mode, uid } = await lstat(path);
    const isOurs = process.getuid === undefined || uid === process.getuid();
    if ((mode & 0o170000) !== 0o040000 || !isOurs || (mode & 0o077) !== 0)
      throw new AgentError(
        'state_dir',
        `${path} is not private: make it a folder of this user with mode 0700 (chmod 700 ${path})`,
      );
  } catch (cause) {
    if (cause instanceof AgentError) throw cause;
    throw new AgentError('state_dir', `${path} cannot be used: ${textOf(cause)}`, { cause });
  }
  return {
    wasOpened,
    ...stateReader(path),
    async remove(name) {
      try {
        await rm(join(path, files[name]), { force: true });
      } catch (cause) {
        throw new AgentError('state_dir', `${files[name]} cannot be removed: ${textOf(cause)}`, { cause });
      }
    },
    async write(name, text) {
      const temporary = join(path, `.${files[name]}.${randomUUID()}`);
      try {
        const file = await open(temporary, 'wx', 0o600);
        try {
          await file.writeFile(text);
          await file.sync();
        } finally {
          await file.close();
        }
        await rename(temporary, join(path, files[name]));
      } catch (cause) {
        await rm(temporary, { force: true });
        throw new AgentError('state_dir', `${files[name]} cannot be written: ${textOf(cause)}`, { cause });
      }
    },
  };
}

/** Reads what an agent keeps there, whoever owns the folder. */
export function stateReader(path: string): Pick<StateDir, 'read'> {
  return {
    async read(name) {
      try {
        return await readFile(join(path, files[name]), 'utf8');
      } catch (cause) {
        if (isMissing(cause)) return null;
        throw new AgentError('state_dir', `${files[name]} cannot be read: ${textOf(cause)}`, { cause });
      }
    },
  };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
