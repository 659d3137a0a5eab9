import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname } from 'node:path';

/** Why this user may not open a TPM's device or socket, and which command lets him. */
export function deniedText(path: string, isDevice: boolean): string {
  const user = userName();
  const closed = closedFolder(path);
  if (closed !== null)
    return `the user ${user} may not enter the folder ${closed}, in which the TPM's ${isDevice ? 'device' : 'socket'} ${path} is: open it to a group of ${user} (chgrp GROUP ${closed}; chmod g+${isDevice ? 'x' : 'rx'} ${closed})`;
  const { mode, gid } = statSync(path);
  const group = groupName(gid);
  const what = `the user ${user} may not open the TPM ${path} (mode ${(mode & 0o777).toString(8)}, group ${group})`;
  if ((mode & 0o060) === 0o060 && gid !== 0)
    return `${what}: take ${user} into that group (usermod -aG ${group} ${user}), and start this program again`;
  if (isDevice)
    return `${what}: give the device to the group tss by a rule of udev (on Debian: apt install tpm-udev; its rule is ${udevRule}), take ${user} into that group (usermod -aG tss ${user}), and start this program again`;
  return `${what}: run the software TPM as ${user}, or open its socket to a group of ${user} (chgrp GROUP ${path}; chmod g+rw ${path})`;
}

const udevRule = 'KERNEL=="tpmrm[0-9]*", GROUP="tss", MODE="0660"';

/** The first folder on the way that this user may not enter; null if all are open to him. */
function closedFolder(path: string): string | null {
  const folders: string[] = [];
  for (let folder = dirname(path); folder !== '/'; folder = dirname(folder)) folders.unshift(folder);
  for (const folder of folders)
    try {
      accessSync(folder, constants.X_OK);
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

function groupName(gid: number): string {
  try {
    const lines = readFileSync('/etc/group', 'utf8').split('\n');
    return lines.find((each) => each.split(':')[2] === String(gid))?.split(':')[0] ?? String(gid);
  } catch {
    return String(gid);
  }
}
