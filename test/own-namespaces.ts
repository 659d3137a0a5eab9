const isRoot = process.getuid?.() === 0;
/** By its path: some tests give no PATH to a program. */
const unshare = '/usr/bin/unshare';

/**
 * Argv by which a program runs as root in namespaces of its own, such as `--net`; a user who is not root needs user
 * namespaces. Those named come after that of the user: their files in /proc belong to who is root when they are made.
 */
export function unshared(...namespaces: readonly string[]): readonly [string, ...string[]] {
  const first = isRoot ? [] : ['--map-root-user', '--', unshare];
  return [unshare, ...first, ...namespaces, '--'];
}

/** Argv by which a program runs in the network of a process that was started so. */
export function inNetworkOf(pid: number): readonly [string, ...string[]] {
  const user = isRoot ? [] : ['--user', '--preserve-credentials'];
  return ['nsenter', '--target', String(pid), ...user, '--net', '--'];
}

/** Argv by which a program finds this folder of the machine empty. It is root there. */
export function withEmpty(folder: string): readonly [string, ...string[]] {
  const script = '/bin/mount -n -t tmpfs tmpfs "$0"; exec "$@"';
  return [...unshared('--mount'), '/bin/sh', '-euc', script, folder];
}
