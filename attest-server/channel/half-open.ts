import type { Server } from 'node:https';
import type { Socket } from 'node:net';
import { sourceOf } from '../protocol/source.ts';
import { bounds } from './bounds.ts';
import { Places } from './places.ts';

interface Peer {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

/**
 * Connections that have not become a WebSocket yet: one deadline for TLS and request together, however slowly the
 * bytes trickle, and a bounded number. Established connections are not counted, so they cannot be locked out.
 * @param within milliseconds
 * @param dropped told of each that was ended here, with its address
 */
export function watchHalfOpen(
  server: Server,
  within: number,
  now: () => number,
  dropped: (text: string, address: string) => void,
): { upgraded(peer: Peer): void } {
  const places = new Places(bounds.halfOpen);
  const ends = new Map<string, () => void>();
  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    const drop = (text: string) => {
      end();
      socket.destroy();
      dropped(text, address);
    };
    const release = places.take(sourceOf(address), () => drop('half-open, and newer ones came'), now());
    const deadline = setTimeout(() => drop('no handshake in time'), within);
    const key = keyOf(socket);
    const end = () => {
      clearTimeout(deadline);
      release?.();
      socket.off('close', end);
      if (ends.get(key) === end) ends.delete(key);
    };
    ends.set(key, end);
    socket.once('close', end);
    if (release === null) drop('too many half-open connections');
  });
  return { upgraded: (peer) => ends.get(keyOf(peer))?.() };
}

/** The TLS socket of a request is another object than the TCP socket that was accepted; their peer is the same. */
function keyOf({ remoteAddress, remotePort }: Peer): string {
  return `${remoteAddress} ${remotePort}`;
}
