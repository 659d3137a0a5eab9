import type { Reference } from '../formats/reference.ts';
import { aspects } from './aspects.ts';
import { contentOf } from './reference-content.ts';

/** The content of a reference, as lines of text: in the words of its aspect or, if that has none, of its file. */
export function describedReference(reference: Reference): readonly string[] {
  const aspect = aspects.find(({ referenceKind }) => referenceKind === reference.kind);
  return aspect?.describe?.(reference) ?? JSON.stringify(contentOf(reference), null, 2).split('\n');
}
