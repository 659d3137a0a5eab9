import { createServer, type Server, type ServerOpts } from 'node:net';
import type { SocketFault } from './guarded-socket.ts';

/** The first descriptor that a service manager hands over, by sd_listen_fds(3). */
const firstDescriptor = 3;

/** Descriptors that systemd holds for this process, by the names of its units; those of a parent are none of ours. */
export function handedOver(
  { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '' }: NodeJS.ProcessEnv,
  pid: number,
): readonly { readonly name: string; readonly fd: number }[] {
  if (LISTEN_PID !== String(pid) || LISTEN_FDS === undefined) return [];
  const names = LISTEN_FDNAMES.split(':');
  return Array.from({ length: Math.min(Number(LISTEN_FDS), 64) }, (_, index) => ({
    name: names[index] ?? '',
    fd: firstDescriptor + index,
  }));
}

/** Listens on the only descriptor that systemd handed over; null if it handed over none. @throws as `listenOn`; for several */
export async function listenHandedOver(
  environment: NodeJS.ProcessEnv,
  pid: number,
  refused: SocketFault,
): Promise<Server | null> {
  const [only, ...others] = handedOver(environment, pid);
  if (others.length > 0)
    throw refused(`systemd handed over ${others.length + 1} sockets: one is for the agent`);
  return only === undefined ? null : listenOn(only.fd, refused);
}

/**
 * Listens on a socket that systemd made for this process, with the user and mode of its unit.
 * @throws what `refused` makes, if it is no Unix socket
 */
export async function listenOn(fd: number, refused: SocketFault, options: ServerOpts = {}): Promise<Server> {
  const server = createServer(options);
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', (cause) =>
      reject(refused('the socket that systemd handed over cannot be used', cause)),
    );
    server.listen({ fd });
  });
  // Attack: a unit that somebody changed has it listen on a network. A Unix socket that was made elsewhere has no address here.
  if (server.address() !== null) {
    server.close();
    throw refused('what systemd handed over is no Unix socket');
  }
  server.removeAllListeners('error');
  server.on('error', () => {});
  return server;
}
