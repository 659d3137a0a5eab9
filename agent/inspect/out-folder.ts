import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { AgentError } from '../agent-error.ts';
import { readBounded } from '../collectors/read-bounded.ts';

/** The group that reads what root wrote, where no other is named: the agent's user is in it. */
export const readers = 'assay';

/** A folder that nobody but this user can change; what stands in it is whole at every moment. */
export interface OutFolder extends AsyncDisposable {
  /** Group that reads it; null if the machine has no such group: then root alone does. */
  readonly group: number | null;
  /** The content of the file; null if there is none. */
  read(name: string, most: number): Promise<Buffer | null>;
  /** Whole or not at all, mode 0640. */
  write(name: string, content: Uint8Array | AsyncIterable<Uint8Array>): Promise<void>;
  list(): Promise<readonly string[]>;
  remove(name: string): Promise<void>;
  /** A folder in it. */
  folder(name: string): Promise<OutFolder>;
}

/**
 * Opens it, or makes it: mode 0750, of this user and that group.
 * @param groups bytes of /etc/group
 * @param name of the group
 * @throws AgentError `out_folder` if it is a link, or somebody else owns or may change it or what leads to it
 */
export async function openOutFolder(path: string, groups: Buffer | null, name = readers): Promise<OutFolder> {
  const folder = resolve(path);
  const group = groupOf(groups?.toString('utf8') ?? '', name);
  try {
    await mkdir(dirname(folder), { recursive: true, mode: 0o755 });
    for (let at = dirname(folder); ; at = dirname(at)) {
      const { mode, uid } = await lstat(at);
      const isSticky = (mode & 0o1000) !== 0;
      if ((mode & 0o170000) === 0o120000) throw refused(at, 'is a link');
      if (uid !== 0 && uid !== process.getuid?.()) throw refused(at, `is of user ${uid}`);
      if ((mode & 0o022) !== 0 && !isSticky) throw refused(at, 'may be changed by others');
      if (at === dirname(at)) break;
    }
    return await openChecked(folder, folder, group);
  } catch (cause) {
    if (cause instanceof AgentError) throw cause;
    throw new AgentError('out_folder', `${folder} cannot be used: ${textOf(cause)}`, { cause });
  }
}

/** All that follows goes through the open folder: what its path leads to later does not matter. */
async function openChecked(path: string, shown: string, group: number | null): Promise<OutFolder> {
  await mkdir(path, { mode: 0o750 }).catch((error: unknown) => {
    if (!isCode(error, 'EEXIST')) throw error;
  });
  const found = await lstat(path);
  if ((found.mode & 0o170000) !== 0o040000) throw refused(shown, 'is no folder');
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  const at = `/proc/self/fd/${handle.fd}`;
  try {
    const { mode, uid, gid } = await handle.stat();
    if (uid !== process.getuid?.()) throw refused(shown, `is of user ${uid}`);
    if ((mode & 0o022) !== 0) throw refused(shown, 'may be changed by others');
    if (group !== null && gid !== group) await handle.chown(uid, group);
    if ((mode & 0o7777) !== 0o750) await handle.chmod(0o750);
    for (const name of await readdir(at)) if (temporaryName.test(name)) await removeOld(join(at, name));
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    group,
    read: (name, most) => readBounded(join(at, name), most),
    async write(name, content) {
      const temporary = join(at, `.${name}.${randomUUID()}`);
      try {
        const file = await open(temporary, 'wx', 0o600);
        try {
          await file.writeFile(content);
          await permit(file, group);
          await file.sync();
        } finally {
          await file.close();
        }
        await rename(temporary, join(at, name));
        await handle.sync();
      } catch (cause) {
        await rm(temporary, { force: true });
        throw new AgentError('out_folder', `${join(shown, name)} cannot be written: ${textOf(cause)}`, {
          cause,
        });
      }
    },
    list: () => readdir(at),
    remove: (name) => rm(join(at, name), { force: true, recursive: true }),
    folder: (name) => openChecked(join(at, name), join(shown, name), group),
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** The file of a run that was ended while it wrote; one that writes now is young. */
const temporaryName = /^\..+\.[0-9a-f-]{36}$/;
const oldMs = 600_000;

async function removeOld(path: string): Promise<void> {
  const found = await lstat(path).catch(() => null);
  if (found !== null && Date.now() - found.mtimeMs > oldMs) await rm(path, { force: true });
}

/** Its readers see it only once it has their group. */
async function permit(file: FileHandle, group: number | null): Promise<void> {
  const { uid, gid } = await file.stat();
  if (group !== null && gid !== group) await file.chown(uid, group);
  await file.chmod(group === null ? 0o600 : 0o640);
}

/** name:password:gid:members */
function groupOf(text: string, name: string): number | null {
  const found = text.split('\n').find((line) => line.startsWith(`${name}:`));
  const gid = /^[^:]*:[^:]*:(\d{1,10})(?::|$)/.exec(found ?? '')?.[1];
  return gid === undefined || Number(gid) > 0xffff_fffe ? null : Number(gid);
}

function refused(path: string, why: string): AgentError {
  return new AgentError(
    'out_folder',
    `${path} ${why}: make it a folder of root that nobody else may change (chown root ${path}; chmod go-w ${path})`,
  );
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
