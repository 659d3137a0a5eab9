import type { Server, Socket } from 'node:net';
import { sourceOf } from '../wire/source.ts';
import { AcceptRate } from './accept-rate.ts';
import type { HitBound, SourceBounds } from './bounds.ts';
import { type AdmissionSlot, Slots } from './slots.ts';

/** A connection that was let in and has not proven itself. */
export interface Visitor extends Omit<AdmissionSlot, 'touch'> {
  readonly source: string;
  /** Its request came: the deadline is over. From now on `evict` ends it. */
  asked(evict?: (bound: HitBound) => void): void;
  /** It proved itself: it holds no slot any more, and its source is known. */
  prove(): void;
}

/** Both ends of a socket, which tell two connections to one listener apart. */
interface SocketEnds {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  readonly localAddress?: string | undefined;
}

/** Who is turned away, and by which bound. */
export type TurnedAway = (bound: HitBound, address: string) => void;

/** Admission to one port, in front of its listener. */
export interface Admission {
  /** Admits or refuses each connection before the server does anything for it, TLS included. @param turnedAway is called as well */
  guard(server: Server, turnedAway?: TurnedAway): void;
  /** Who is behind the socket of a request; null if that visitor is gone or no longer needs a slot. */
  visitor(peer: SocketEnds): Visitor | null;
  /** A proven connection from this source ended. */
  left(source: string): void;
  readonly unproven: { readonly bytes: number; readonly connections: number };
}

export interface AdmissionParts {
  readonly bounds: SourceBounds;
  /** Milliseconds from TCP to the request. */
  readonly within: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Called for everybody who is turned away. */
  readonly turnedAway: (bound: HitBound, source: string) => void;
}

export function createAdmission({ bounds, within, now, turnedAway: told }: AdmissionParts): Admission {
  const acceptRate = new AcceptRate(bounds, now);
  const slots = new Slots(bounds);
  const visitors = new Map<string, Visitor>();

  function admit(socket: Socket, turnedAway: TurnedAway): boolean {
    const address = socket.remoteAddress ?? '';
    const source = sourceOf(address);
    const refused = acceptRate.take(source);
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
    const slot = slots.take(source, end);
    const deadline = setTimeout(() => end('deadline'), within);
    const key = keyOf(socket);
    const leave = () => {
      clearTimeout(deadline);
      slot.leave();
      if (visitors.get(key) === visitor) visitors.delete(key);
    };
    const visitor: Visitor = {
      source,
      grow: slot.grow,
      claim: slot.claim,
      free: slot.free,
      leave,
      asked(by = drop) {
        clearTimeout(deadline);
        slot.touch();
        evict = by;
      },
      prove() {
        leave();
        socket.off('close', leave);
        acceptRate.prove(source);
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
    left: (source) => acceptRate.know(source),
    get unproven() {
      return { bytes: slots.bytes, connections: slots.strangers + slots.claimants };
    },
  };
}

/** The TLS socket of a request is another object than the TCP socket that was accepted; both ends are the same. */
function keyOf({ remoteAddress, remotePort, localAddress }: SocketEnds): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}
