const heading =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';

/** A port as /proc/net/tcp has it, of a socket that listens on every address. */
function listens(family: 4 | 6, port: number, inode: number): string {
  const none = '0'.repeat(family === 4 ? 8 : 32);
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return `   0: ${none}:${hex} ${none}:0000 0A 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0000000000000000 100 0 0 10 0\n`;
}

/** What a worker says of itself on which the aspect `host` finds nothing: kubelet and kube-proxy listen, and no SSH. */
export const hostFiles: Readonly<Record<string, string>> = {
  'proc/1/net/tcp': heading + listens(4, 10_249, 1001),
  'proc/1/net/tcp6': heading + listens(6, 10_250, 1002),
  'proc/sys/kernel/tainted': '0\n',
  'proc/sys/kernel/kptr_restrict': '2\n',
  'proc/sys/kernel/randomize_va_space': '2\n',
  'run/systemd/timesync/synchronized': '',
};
