import { z } from 'zod';

/** How one attempt to deliver ended, or that nobody tries any more. */
export const deliveryResults = ['delivered', 'rejected', 'timed_out', 'unreachable', 'dropped'] as const;
export type DeliveryResult = (typeof deliveryResults)[number];

/** `POST /v1/webhook/test`: what became of a message that was sent at once. */
export const webhookTest = z.object({
  delivered: z.boolean(),
  /** HTTP status; null if no answer came. */
  status: z.int().nullable(),
  text: z.string(),
  milliseconds: z.number(),
});
export type WebhookTestView = z.infer<typeof webhookTest>;

/** How the webhook is, as `/v1/status` says it. */
export const webhookView = z.object({
  /** Scheme, host and port. */
  to: z.string(),
  waiting: z.int(),
  /** When the oldest that waits happened. */
  oldestAt: z.iso.datetime().nullable(),
  /** Since this start. */
  deliveredAt: z.iso.datetime().nullable(),
  /** Why the latest attempt came to nothing; null if it did not. */
  fault: z.string().nullable(),
  /** Given up since the latest delivery. */
  dropped: z.int(),
});
export type WebhookView = z.infer<typeof webhookView>;
