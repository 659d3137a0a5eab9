import type { Server, Socket } from 'node:net';
import { sourceOf } from '../wire/source.ts';
import type { HitBound, SourceBounds } from './bounds.ts';
import { Pace } from './pace.ts';
import { type Place, Places } from './places.ts';

/** A connection that was let in and has not proven itself. */
export interface Visitor extends Omit<Place, 'touch'> {
  readonly source: string;
  /** Its request came: the deadline is over. From now on `evict` ends it. */
  asked(evict?: (bound: HitBound) => void): void;
  /** It proved itself: it holds no place any more, and its source is known. */
  prove(): void;
}

/** What tells two connections to one listener apart. */
interface Peer {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  readonly localAddress?: string | undefined;
}

/** Who is turned away, and by which bound. */
export type TurnedAway = (bound: HitBound, address: string) => void;

/** What stands before the listener of one port. */
export interface Door {
  /** Asks the door before the server does anything for a connection, TLS included. @param turnedAway told too */
  guard(server: Server, turnedAway?: TurnedAway): void;
  /** Who is behind the socket of a request; null where that one is gone or needs no place any more. */
  visitor(peer: Peer): Visitor | null;
  /** A proven connection from this source ended. */
  left(source: string): void;
  readonly unproven: { readonly bytes: number; readonly connections: number };
}

export interface DoorParts {
  readonly bounds: SourceBounds;
  /** Milliseconds from TCP to the request. */
  readonly within: number;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** Told of everybody who is turned away. */
  readonly turnedAway: (bound: HitBound, source: string) => void;
}

export function createDoor({ bounds, within, now, turnedAway: told }: DoorParts): Door {
  const pace = new Pace(bounds, now);
  const places = new Places(bounds);
  const visitors = new Map<string, Visitor>();

  function admit(socket: Socket, turnedAway: TurnedAway): boolean {
    const address = socket.remoteAddress ?? '';
    const source = sourceOf(address);
    const refused = pace.take(source);
    if (refused !== null) {
      told(refused, source);
      // Without a goodbye: it would cost more than the refusal.
      socket.resetAndDestroy();
      return false;
    }
    const drop = (bound: HitBound) => {
      turnedAway(bound, address);
      socket.destroy();
    };
    let evict = drop;
    const end = (bound: HitBound) => {
      told(bound, source);
      evict(bound);
    };
    const place = places.take(source, end);
    const deadline = setTimeout(() => end('deadline'), within);
    const key = keyOf(socket);
    const leave = () => {
      clearTimeout(deadline);
      place.leave();
      if (visitors.get(key) === visitor) visitors.delete(key);
    };
    const visitor: Visitor = {
      source,
      grow: place.grow,
      claim: place.claim,
      free: place.free,
      leave,
      asked(by = drop) {
        clearTimeout(deadline);
        place.touch();
        evict = by;
      },
      prove() {
        leave();
        socket.off('close', leave);
        pace.prove(source);
      },
    };
    visitors.set(key, visitor);
    socket.once('close', leave);
    return true;
  }

  return {
    guard(server, turnedAway = () => {}) {
      const listeners = server.listeners('connection');
      server.removeAllListeners('connection');
      server.on('connection', (socket: Socket) => {
        if (admit(socket, turnedAway)) for (const listener of listeners) listener.call(server, socket);
      });
    },
    visitor: (peer) => visitors.get(keyOf(peer)) ?? null,
    left: (source) => pace.know(source),
    get unproven() {
      return { bytes: places.bytes, connections: places.strangers + places.claimants };
    },
  };
}

/** The TLS socket of a request is another object than the TCP socket that was accepted; both ends are the same. */
function keyOf({ remoteAddress, remotePort, localAddress }: Peer): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}
