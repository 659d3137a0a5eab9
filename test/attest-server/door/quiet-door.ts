import { createDoor, type Door } from '../../../attest-server/door/door.ts';

/** A door that lets the loopback in as often as a test likes, for what is tested without the rest of a server. */
export function quietDoor(): Door {
  const door = createDoor({
    bounds: { connections: 256, perSecond: 10_000, unprovenBytes: 32 * 1024 * 1024 },
    within: 10_000,
    now: () => performance.now(),
    turnedAway: () => {},
  });
  door.left('127.0.0.1');
  return door;
}
