import { createServer, type Server } from 'node:net';
import type { SocketFault } from '../guarded-socket.ts';

/** The first descriptor that a service manager hands over, by sd_listen_fds(3). */
const firstDescriptor = 3;

/**
 * Listens on the socket that systemd made for this process and holds for it, with the user and mode of its unit; null if it
 * made none.
 * @throws what `refused` makes, if it is no socket, or there are several
 */
export async function listenHandedOver(
  { LISTEN_PID, LISTEN_FDS }: NodeJS.ProcessEnv,
  pid: number,
  refused: SocketFault,
): Promise<Server | null> {
  // Of a parent's they are none of ours.
  if (LISTEN_PID !== String(pid) || LISTEN_FDS === undefined) return null;
  if (LISTEN_FDS !== '1') throw refused(`systemd handed over ${LISTEN_FDS} sockets: one is for the agent`);
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', (cause) =>
      reject(refused('the socket that systemd handed over cannot be used', cause)),
    );
    server.listen({ fd: firstDescriptor });
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
