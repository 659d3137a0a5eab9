import { readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type ListeningSocket, socketText } from './listening.ts';
import { readBounded } from './read-bounded.ts';

/** An SSH daemon that runs in the host's network. */
export interface SshDaemon {
  readonly name: string;
  /** Where it listens; null if the agent may not see which sockets it has. */
  readonly sockets: readonly string[] | null;
}

const names: ReadonlySet<string> = new Set(['sshd', 'dropbear', 'tinysshd']);
const mostProcesses = 65_536;
const mostDaemons = 8;
const mostSockets = 8;
const mostDescriptors = 1024;
/** Read at once: a node has some hundreds of processes, and a thread waits for each. */
const together = 16;

/**
 * The SSH daemons among the processes, looked for again each time: systemd starts one with a socket that it opened long before,
 * so that no other socket listens afterwards. 1,000 processes take some 30 ms.
 */
export async function findDaemons(
  sysroot: string,
  listening: readonly ListeningSocket[],
  signal?: AbortSignal,
): Promise<readonly SshDaemon[]> {
  const proc = join(sysroot, 'proc');
  const ids = (await readdir(proc)).filter((name) => /^\d+$/.test(name)).slice(0, mostProcesses);
  const network = await networkOf(proc, '1');
  const byText = new Map<string, SshDaemon>();
  for (let start = 0; start < ids.length; start += together) {
    signal?.throwIfAborted();
    const some = ids.slice(start, start + together);
    const found = await Promise.all(some.map((id) => daemonOf(proc, id, network, listening, signal)));
    for (const daemon of found) if (daemon !== null) byText.set(JSON.stringify(daemon), daemon);
  }
  // One that listens comes before a session, which has the same name.
  const daemons = [...byText.values()].sort((a, b) => (b.sockets?.length ?? 1) - (a.sockets?.length ?? 1));
  return daemons.filter(({ sockets }) => sockets === null || sockets.length > 0).slice(0, mostDaemons);
}

/** Null if the process is none, is in another network such as a container's, or has ended. */
async function daemonOf(
  proc: string,
  id: string,
  network: number | null,
  listening: readonly ListeningSocket[],
  signal?: AbortSignal,
): Promise<SshDaemon | null> {
  const name = (await readBounded(join(proc, id, 'comm'), 64, signal).catch(() => null))
    ?.toString('latin1')
    .trim();
  if (name === undefined || !names.has(name)) return null;
  const own = await networkOf(proc, id);
  if (network !== null && own !== null && own !== network) return null;
  return { name, sockets: await socketsOf(proc, id, listening) };
}

/** The kernel shows the sockets of each network at an inode of its own, to everybody; null if it shows none. */
async function networkOf(proc: string, id: string): Promise<number | null> {
  return stat(join(proc, id, 'net/tcp')).then(
    ({ ino }) => ino,
    () => null,
  );
}

async function socketsOf(
  proc: string,
  id: string,
  listening: readonly ListeningSocket[],
): Promise<readonly string[] | null> {
  const byInode = new Map(listening.map((socket) => [socket.inode, socketText(socket)]));
  const folder = join(proc, id, 'fd');
  const descriptors = await readdir(folder).catch(() => null);
  if (descriptors === null) return null;
  const sockets = new Set<string>();
  for (const descriptor of descriptors.slice(0, mostDescriptors)) {
    const target = await readlink(join(folder, descriptor)).catch(() => '');
    const socket = byInode.get(/^socket:\[(\d+)\]$/.exec(target)?.[1] ?? '');
    if (socket !== undefined) sockets.add(socket);
  }
  return [...sockets].sort().slice(0, mostSockets);
}
