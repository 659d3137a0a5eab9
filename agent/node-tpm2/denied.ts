import { access, constants, readFile, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname } from 'node:path';

/** Why this user may not open a TPM's device or socket, and which command lets him. */
export async function deniedText(path: string, isDevice: boolean): Promise<string> {
  const user = userName();
  const closed = await closedFolder(path);
  if (closed !== null)
    return `the user ${user} may not enter the folder ${closed}, in which the TPM's ${isDevice ? 'device' : 'socket'} ${path} is: open it to a group of ${user} (chgrp GROUP ${closed}; chmod g+${isDevice ? 'x' : 'rx'} ${closed})`;
  const { mode, gid } = await stat(path);
  const group = await groupName(gid);
  const what = `the user ${user} may not open the TPM ${path} (mode ${(mode & 0o777).toString(8)}, group ${group})`;
  if ((mode & 0o060) === 0o060 && gid !== 0)
    return `${what}: take ${user} into that group (usermod -aG ${group} ${user}), and start this program again`;
  if (isDevice)
    return `${what}: give the device to the group tss by a rule of udev (on Debian: apt install tpm-udev; its rule is ${udevRule}), take ${user} into that group (usermod -aG tss ${user}), and start this program again`;
  return `${what}: run the software TPM as ${user}, or open its socket to a group of ${user} (chgrp GROUP ${path}; chmod g+rw ${path})`;
}

const udevRule = 'KERNEL=="tpmrm[0-9]*", GROUP="tss", MODE="0660"';

/** The first folder on the way that this user may not enter; null if all are open to him. */
async function closedFolder(path: string): Promise<string | null> {
  const folders: string[] = [];
  for (let folder = dirname(path); folder !== '/'; folder = dirname(folder)) folders.unshift(folder);
  for (const folder of folders)
    try {
      await access(folder, constants.X_OK);
    } catch {
      return folder;
    }
  return null;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // In a container, a user often has a number alone.
    return String(process.geteuid?.());
  }
}

async function groupName(gid: number): Promise<string> {
  const groups = await readFile('/etc/group', 'utf8').catch(() => '');
  const line = groups.split('\n').find((each) => each.split(':')[2] === String(gid));
  return line?.split(':')[0] ?? String(gid);
}
