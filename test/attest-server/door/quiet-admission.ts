import { type Admission, createAdmission } from '../../../attest-server/door/admission.ts';

/** Admission that lets the loopback in as often as a test likes, for what is tested without the rest of a server. */
export function quietAdmission(): Admission {
  const admission = createAdmission({
    bounds: { connections: 256, perSecond: 10_000, unprovenBytes: 32 * 1024 * 1024 },
    within: 10_000,
    now: () => performance.now(),
    turnedAway: () => {},
  });
  admission.left('127.0.0.1');
  return admission;
}
