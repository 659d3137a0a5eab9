/**
 * Argv before that of a program for which this machine has no nft, whatever its PATH: Debian has it in /usr/sbin, which is
 * empty for this program. For root alone.
 */
export const withoutNft = [
  ...['/usr/bin/unshare', '--mount', '--', '/bin/sh', '-euc'],
  ...['/bin/mount -t tmpfs tmpfs /usr/sbin; exec "$@"', 'sh'],
] as const;
