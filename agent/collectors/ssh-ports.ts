/** A port on which SSH is to listen, and which file says so. */
export interface SshPort {
  readonly port: number;
  /** Path from the root. */
  readonly source: string;
}

/** A port as sshd reads it; null if it is none that this file knows. */
export function portOf(word: string): number | null {
  if (word === 'ssh') return 22;
  const port = /^\d{1,5}$/.test(word) ? Number(word) : 0;
  return port >= 1 && port <= 65_535 ? port : null;
}

/** The port of `0.0.0.0:22`, `[::]:22` or `host:22`; undefined if it names none. */
export function portBehind(address: string): string | undefined {
  const bracketed = /^\[[^\]]*\](?::(.*))?$/.exec(address);
  if (bracketed !== null) return bracketed[1];
  const parts = address.split(':');
  return parts.length === 2 ? parts[1] : undefined;
}
