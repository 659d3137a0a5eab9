import type { Reference } from '../formats/reference.ts';

/** Whether two references of one kind compare a node with the same, whatever they are called and whoever made them. */
export function saysTheSame(one: Reference, other: Reference): boolean {
  return one.kind === other.kind && canonical(contentOf(one)) === canonical(contentOf(other));
}

/** The values that a reference is compared by: all of it but its name, its life and who made it. */
export function contentOf({
  version: _version,
  kind: _kind,
  name: _name,
  group: _group,
  state: _state,
  expires: _expires,
  captured: _captured,
  changed: _changed,
  ...content
}: Reference): object {
  return content;
}

/** Members in one order, whoever wrote the file. */
function canonical(content: object): string {
  return JSON.stringify(content, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}
