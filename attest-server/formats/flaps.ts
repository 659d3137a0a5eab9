import { z } from 'zod';
import { nodeStateSchema, reasonCodeSchema } from '../wire/verdict.ts';

/** Changes of a node's verdict that have one row of the history together. */
export const flapsSchema = z.object({
  /** How many; the row's own verdict is the latest of them. */
  changes: z.int(),
  /** The states that it had meanwhile. */
  states: z.array(nodeStateSchema),
  /** Codes found meanwhile, except those that only inform. */
  codes: z.array(reasonCodeSchema),
});
export type Flaps = z.infer<typeof flapsSchema>;
