import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from './agent-error.ts';

/** For the group alone, and nobody removes what another user made: as /tmp has it for all. */
const wanted = 0o1770;

/**
 * Makes a folder that the kubelet made (root's, 0755 or, where it is memory of a pod, 0777) such that programs of this
 * group can make folders of their own in it. Needs no capability: the folder is this user's.
 * @param user whose folders may stand in it beside this user's own
 * @returns a line that says what it is now
 * @throws AgentError `state_dir` if it is a link or somebody else's, or holds what is not of one of these programs
 */
export async function prepareState(path: string, user: number): Promise<string> {
  const folder = await openFolder(path);
  try {
    const found = await folder.stat();
    const own = { uid: process.getuid?.(), gid: process.getgid?.() };
    if (found.uid !== own.uid)
      throw refused(
        `${path} belongs to user ${found.uid}, not to ${own.uid}: if a program of the host uses it, name another folder`,
      );
    if (found.gid !== own.gid)
      throw refused(`${path} belongs to group ${found.gid}, not to ${own.gid}: give its volume no fsGroup`);
    // Closed to all others first: what is looked at then stays as it is.
    if ((found.mode & 0o7777) !== wanted) await folder.chmod(wanted);
    const at = `/proc/self/fd/${folder.fd}`;
    for (const name of await readdir(at))
      await checkEntry(join(at, name), join(path, name), [found.uid, user]);
    return `${path} is of mode ${wanted.toString(8)}`;
  } finally {
    await folder.close();
  }
}

async function openFolder(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    const why =
      code === 'ELOOP' || code === 'ENOTDIR' ? 'is no folder, or a link' : `cannot be opened (${code})`;
    throw refused(`${path} ${why}`, cause);
  }
}

/** Programs of Assay make folders there, which they alone may write. */
async function checkEntry(path: string, shown: string, users: readonly number[]): Promise<void> {
  const { mode, uid } = await lstat(path);
  if ((mode & 0o170000) !== 0o040000)
    throw refused(`${shown} is no folder: find out who made it, and remove it`);
  if (!users.includes(uid))
    throw refused(`${shown} belongs to user ${uid}: find out who made it, and remove it`);
  if ((mode & 0o022) !== 0) throw refused(`${shown} may be changed by others: chmod go-w ${shown}`);
}

function refused(text: string, cause?: unknown): AgentError {
  return new AgentError('state_dir', text, { cause });
}
