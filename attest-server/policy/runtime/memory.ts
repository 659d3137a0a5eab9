import { hash } from 'node:crypto';
import { z } from 'zod';
import type { Past } from '../aspect.ts';
import type { Example } from './examples.ts';

/** This aspect's memory of a node. */
export interface RuntimeMemory {
  /** A list of it was judged before: leaving it out hides something. */
  readonly sent: boolean;
  /** The previous answer brought nothing that counts: once may be an accident. */
  readonly missed?: true;
  /** When each thing that counts against it was seen first, by its mark: ISO times. */
  readonly since: Readonly<Record<string, string>>;
}

const memory = z.object({
  sent: z.boolean(),
  missed: z.literal(true).exactOptional(),
  since: z.record(z.string().max(32), z.iso.datetime()),
});
const noMemory: RuntimeMemory = { sent: false, since: {} };

/** The memory of a node; only this aspect writes it, and a bundle may hold anything. */
export function runtimeMemoryIn({ runtime }: Past['memory']): RuntimeMemory {
  return runtime === undefined ? noMemory : (memory.safeParse(runtime).data ?? noMemory);
}

/** Whatever number it has in a later list: what it is called, and what it holds. */
export function markOf({ path, digest }: Example): string {
  return hash('sha256', `${digest} ${path}`).slice(0, 16);
}
