import { z } from 'zod';

const aboutLease = {
  /** Of the release (key-release.ts). */
  leaseId: z.string().regex(/^[0-9a-f]{32}$/),
  /** As luks-header.ts makes it. */
  headerDigest: z.string().regex(/^[0-9a-f]{64}$/),
};

/** The report of a node whose volume is open and whose boot is capped: from now on the lease gives nothing. */
export const unlocked = z.strictObject({ type: z.literal('unlocked'), ...aboutLease });
export type UnlockedMessage = z.infer<typeof unlocked>;

/** The report of a node that has the header on its disk which the server keeps: the volume is formatted, or has its next key. */
export const formatted = z.strictObject({ type: z.literal('formatted'), ...aboutLease });
export type FormattedMessage = z.infer<typeof formatted>;

/** The server's word that something about a lease is on its disk: a header that was sent, or a report. */
export const kept = z.strictObject({
  type: z.literal('kept'),
  what: z.enum(['header', 'formatted', 'unlocked']),
  leaseId: aboutLease.leaseId,
});
export type KeptMessage = z.infer<typeof kept>;
