import { hash } from 'node:crypto';
import { z } from 'zod';
import { reasonSchema } from '../../protocol/verdict.ts';
import type { Past } from '../aspect.ts';
import type { Finding } from '../finding.ts';
import type { Example } from './examples.ts';

/** What this aspect remembers of a node. */
export interface RuntimeMemory {
  /** A list of it was judged before: leaving it out hides something. */
  readonly sent: boolean;
  /** Nothing that counts came with the answer before: once may be an accident. */
  readonly missed?: true;
  /** When each thing that counts against it was seen first, by its mark: ISO times. */
  readonly since: Readonly<Record<string, string>>;
  /** What broke a rule when the list was judged last; null where nothing did. */
  readonly against: z.infer<typeof finding> | null;
}

const finding = reasonSchema.omit({ class: true, severity: true });
const memory = z.object({
  sent: z.boolean(),
  missed: z.literal(true).exactOptional(),
  since: z.record(z.string().max(32), z.iso.datetime()),
  against: finding.nullable(),
});
const noMemory: RuntimeMemory = { sent: false, since: {}, against: null };

/** What it remembered; only this aspect writes it, and a bundle may hold anything. */
export function runtimeMemoryIn({ runtime }: Past['memory']): RuntimeMemory {
  return runtime === undefined ? noMemory : (memory.safeParse(runtime).data ?? noMemory);
}

/** Whatever number it has in a later list: what it is called, and what it holds. */
export function markOf({ path, digest }: Example): string {
  return hash('sha256', `${digest} ${path}`).slice(0, 16);
}

/** What breaks the policy first, short: its lines are in the verdict. */
export function againstOf(
  findings: readonly Finding[],
  breaks: (finding: Finding) => boolean,
): RuntimeMemory['against'] {
  const first = findings.find(breaks);
  if (first === undefined) return null;
  const { detail: _, severity: __, ...short } = first;
  return short;
}
