import type { Reference, ReferenceKind } from '../formats/reference.ts';
import type { CaptureLabel } from './aspect.ts';
import type { GroupBase } from './group.ts';

/** A reference that is made of what one node proved. @param content its kind, and the member of that kind */
export function capturedReference(
  { kind, ...content }: Pick<Reference, 'kind'> & Partial<Pick<Reference, Exclude<ReferenceKind, 'boot'>>>,
  {
    name,
    state,
    group,
    node,
    by,
    at,
  }: Omit<CaptureLabel, 'group'> & { readonly group: Pick<GroupBase, 'name'> },
): Reference {
  return {
    version: 1,
    kind,
    name,
    group: group.name,
    state,
    expires: null,
    pcrs: {},
    components: [],
    events: [],
    ...content,
    captured: { by, node, at: new Date(at).toISOString() },
  };
}
