import { isObject, type Json, type JsonObject } from './json.ts';

export function joined(path: string, step: string): string {
  return path === '' ? step : `${path}\n${step}`;
}

/** How an item of a list is named in a path. */
export function stepOf(item: Json, keys: readonly string[] | null): string {
  if (keys === null || !isObject(item)) return `v:${JSON.stringify(item)}`;
  const named = keys
    .filter((key) => Object.hasOwn(item, key))
    .map((key) => [key, item[key] ?? null] as const);
  return `k:${JSON.stringify(Object.fromEntries(named))}`;
}

/** The tree that `managedFields` holds. A dot says of what has parts that it is owned itself. */
export function treeOf(paths: ReadonlySet<string>): JsonObject {
  interface Tree extends Map<string, Tree> {}
  const root: Tree = new Map();
  for (const path of paths) {
    let at = root;
    for (const step of path.split('\n')) {
      const next: Tree = at.get(step) ?? new Map();
      at.set(step, next);
      at = next;
    }
  }
  const written = (tree: Tree, path: string): JsonObject => {
    const inner = [...tree]
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([step, its]) => [step, written(its, joined(path, step))] as const);
    const isOwned = inner.length > 0 && paths.has(path);
    return Object.fromEntries(isOwned ? [['.', {}], ...inner] : inner);
  };
  return written(root, '');
}

/** The paths of such a tree. */
export function pathsOf(tree: Json | undefined): readonly string[] {
  const found: string[] = [];
  const walk = (at: Json | undefined, path: string): void => {
    if (!isObject(at)) return;
    const members = Object.entries(at);
    if (path !== '' && (members.length === 0 || Object.hasOwn(at, '.'))) found.push(path);
    for (const [step, inner] of members) if (step !== '.') walk(inner, joined(path, step));
  };
  walk(tree, '');
  return found;
}

/** As people read it, in conflicts: `.status.conditions[type="Ready"].status`. */
export function shownPath(path: string): string {
  return path
    .split('\n')
    .map((step) => {
      if (step.startsWith('f:')) return `.${step.slice(2)}`;
      if (step.startsWith('v:')) return `[=${step.slice(2)}]`;
      return `[${step
        .slice(2)
        .replace(/^\{"|\}$/g, '')
        .replaceAll('":', '=')
        .replaceAll(',"', ',')}]`;
    })
    .join('');
}
