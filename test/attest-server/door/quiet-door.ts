import { createDoor, type Door } from '../../../attest-server/door/door.ts';

/** A door as a server has it by default, for what is tested without the rest of one. */
export function quietDoor(): Door {
  return createDoor({
    bounds: { connections: 256, perSecond: 64, unprovenBytes: 32 * 1024 * 1024 },
    within: 10_000,
    now: () => performance.now(),
    turnedAway: () => {},
  });
}
