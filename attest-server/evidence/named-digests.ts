import { z } from 'zod';
import { Rejection } from '../wire/rejection.ts';
import { supplementForms } from '../wire/supplements.ts';
import { namedEarlier } from './earlier-form.ts';
import { jsonIn } from './kept-form.ts';
import { keptReferencesHead, listsOfReferences } from './kept-references.ts';
import type { NamingBlobs } from './ports.ts';

/** When an answer came, and the digests of what it names; null for bytes that are no kept answer. */
export function namedDigests(
  bytes: Buffer,
): { readonly at: number; readonly digests: readonly string[] } | null {
  const value = jsonIn(bytes);
  if (value === null) return null;
  const found = naming.safeParse(value).data;
  if (found === undefined) return namedEarlier(value);
  const parts = Object.values(found.parts).map(({ digest }) => digest);
  return { at: Date.parse(found.context.at), digests: [...Object.values(found.named), ...parts] };
}

/** Blobs that answers name and that name others themselves: parts that list supplements, and references that list files. */
export const namingBlobs: readonly NamingBlobs[] = [
  ...Object.values(supplementForms).map(({ head, listed }) => ({
    head: Buffer.from(head),
    named: orNothing(listed),
  })),
  { head: Buffer.from(keptReferencesHead), named: listsOfReferences },
];

/** Attack: a loader's file that begins like a list but is not one, so that no evidence of any node is ever erased. */
function orNothing(parse: NamingBlobs['named']): NamingBlobs['named'] {
  return (bytes) => {
    try {
      return parse(bytes);
    } catch (error) {
      if (error instanceof Rejection) return [];
      throw error;
    }
  };
}

/** As much of it as tells what it names: this is asked of every answer that was ever kept. */
const naming = z.object({
  named: z.record(z.string(), z.string()),
  parts: z.record(z.string(), z.object({ digest: z.string() })),
  context: z.object({ at: z.string() }),
});
