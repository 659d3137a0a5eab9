import type { ReadBlob } from './kept-form.ts';
import { readReferences } from './kept-references.ts';
import type { Context } from './pack.ts';

/** Which policy and which references, by the digests of their texts. */
export type NamedContext = Pick<Context, 'policy' | 'references'>;

/** The texts that verdicts were made from once. */
export interface ContextTexts {
  readonly policy: string;
  /** As they were kept: another version may have written them. */
  readonly references: readonly unknown[];
}

/** Null if something of it is gone. */
export async function readContext(named: NamedContext, read: ReadBlob): Promise<ContextTexts | null> {
  const policy = await read(named.policy);
  const kept = await read(named.references);
  const references = kept === null ? null : await readReferences(kept, read);
  return policy === null || references === null ? null : { policy: policy.toString('utf8'), references };
}
