import { z } from 'zod';
import { eventNames } from '../formats/event.ts';
import { nodeName } from '../wire/messages.ts';
import { words } from './node-filter.ts';

/** Which events a listener is told: parameters of `GET /v1/events`, flags of `assay events`. */
export const eventFilter = z.strictObject({
  node: nodeName.optional(),
  group: z.string().min(1).max(256).optional(),
  event: z.string().transform(words('event', eventNames)).optional(),
});
