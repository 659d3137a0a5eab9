import { z } from 'zod';

/** The report of a node whose volume is open and whose boot is capped: from now on the lease gives nothing. */
export const unlocked = z.strictObject({
  type: z.literal('unlocked'),
  /** Of the release that opened it (key-release.ts). */
  leaseId: z.string().regex(/^[0-9a-f]{32}$/),
  /** SHA-256 of the header that was read from the open volume, hex. */
  headerDigest: z.string().regex(/^[0-9a-f]{64}$/),
});
export type UnlockedMessage = z.infer<typeof unlocked>;
