import { z } from 'zod';
import { modes } from './verdict.ts';

/** Actions of a gate when its time is over: hold kubelet back for good, or let it start. */
export const gateActions = ['hold', 'open'] as const;
export type GateAction = (typeof gateActions)[number];

/** The longest time that a policy gives a gate, in seconds. */
export const longestGateTimeout = 86_400;

/** The order of the server to a gate, by the policy of its node's group. */
export const gateOrder = z.strictObject({
  /** In `observe` it holds nothing back. */
  mode: z.enum(modes),
  /** Identity and boot are affirmed, for the boot that was just proven. */
  proven: z.boolean(),
  /** Reason codes of what they lack; the cause first. */
  codes: z.array(z.string().regex(/^[a-z0-9_]{1,64}$/, 'not a reason code')).max(16),
  /** Seconds that it waits; null: without end. */
  timeout: z.int().min(1).max(longestGateTimeout).nullable(),
  onTimeout: z.enum(gateActions),
});
export type GateOrder = z.infer<typeof gateOrder>;

/** Why a gate opened by itself: an operator, the time that its policy gives, or the mode that it knew last, with no server to ask. */
export const ownOpenings = ['operator', 'timeout', 'kept'] as const;
/** And by the word of the server: identity and boot are affirmed, or its group is only observed. */
export const gateOpenings = ['affirmed', 'observe', ...ownOpenings] as const;
export type GateOpening = (typeof gateOpenings)[number];

/** The report of a gate that opened by itself. */
export const openedByItself = z.strictObject({
  type: z.literal('opened'),
  why: z.enum(ownOpenings),
  /** The boot of the kernel that it let go on. */
  bootId: z.string().regex(/^[0-9a-f-]{36}$/),
  /** The reason that the operator wrote down. */
  reason: z.string().regex(/^[\x20-\x7e]{0,256}$/),
});
export type OpenedByItself = z.infer<typeof openedByItself>;
