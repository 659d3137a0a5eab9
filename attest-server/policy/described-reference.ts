import type { Reference } from '../formats/reference.ts';
import { aspects } from './aspects.ts';
import { contentOf } from './reference-content.ts';

/** What a reference says, as lines of text: in the words of its aspect, or, where that has none, as its file does. */
export function describedReference(reference: Reference): readonly string[] {
  const aspect = aspects.find(({ referenceKind }) => referenceKind === reference.kind);
  return aspect?.describe?.(reference) ?? JSON.stringify(contentOf(reference), null, 2).split('\n');
}
