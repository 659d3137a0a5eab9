import { isEqual, isList, isObject, type Json, type JsonObject } from './json.ts';
import { ApiError, badRequest, patchDoesNotApply } from './status.ts';

const mostOperations = 10_000;

/**
 * RFC 6902. What does not apply leaves nothing changed.
 * @throws ApiError 400 for what is no patch, 422 for one that does not apply, 413 for one that is too long
 */
export function applyJsonPatch(target: Json, patch: Json): Json {
  if (!isList(patch)) throw badRequest('json: cannot unmarshal object into Go value of type jsonpatch.Patch');
  if (patch.length > mostOperations) {
    const text = `The allowed maximum operations in a JSON patch is ${mostOperations}, got ${patch.length}`;
    throw new ApiError(413, 'RequestEntityTooLarge', `Request entity too large: ${text}`);
  }
  return patch.reduce<Json>((result, operation) => applyOperation(result, operation), target);
}

function applyOperation(target: Json, operation: Json): Json {
  if (!isObject(operation)) throw badRequest('an operation of a JSON patch is an object');
  const { op, path, from, value } = operation;
  if (typeof path !== 'string') throw patchDoesNotApply();
  switch (op) {
    case 'test': {
      // What is not there equals null only.
      const found = lookUp(target, tokensOf(path), true);
      if (!isEqual(found ?? null, value ?? null)) throw patchDoesNotApply();
      return target;
    }
    case 'add':
      return change(target, tokensOf(path), { kind: 'add', value: needed(value) });
    case 'replace':
      return change(target, tokensOf(path), { kind: 'replace', value: needed(value) });
    case 'remove':
      return change(target, tokensOf(path), { kind: 'remove' });
    case 'move':
    case 'copy': {
      if (typeof from !== 'string') throw patchDoesNotApply();
      const moved = lookUp(target, tokensOf(from), false);
      const rest = op === 'move' ? change(target, tokensOf(from), { kind: 'remove' }) : target;
      return change(rest, tokensOf(path), { kind: 'add', value: needed(moved) });
    }
    default:
      throw patchDoesNotApply();
  }
}

type Change = { readonly kind: 'add' | 'replace'; readonly value: Json } | { readonly kind: 'remove' };

/** A copy with one place changed; all else is shared. */
function change(target: Json, tokens: readonly string[], what: Change): Json {
  const [token, ...rest] = tokens;
  if (token === undefined) {
    if (what.kind === 'remove') throw patchDoesNotApply();
    return what.value;
  }
  if (isList(target)) {
    const index = indexOf(token, target.length, rest.length === 0 && what.kind === 'add');
    if (rest.length > 0) {
      const inner = target[index];
      if (inner === undefined) throw patchDoesNotApply();
      return target.with(index, change(inner, rest, what));
    }
    return what.kind === 'remove'
      ? target.toSpliced(index, 1)
      : target.toSpliced(index, what.kind === 'add' ? 0 : 1, what.value);
  }
  if (!isObject(target)) throw patchDoesNotApply();
  const has = Object.hasOwn(target, token);
  if (rest.length > 0) {
    const inner = target[token];
    if (!has || inner === undefined) throw patchDoesNotApply();
    return withMember(target, token, change(inner, rest, what));
  }
  if (what.kind !== 'remove') return withMember(target, token, what.value);
  if (!has) throw patchDoesNotApply();
  return Object.fromEntries(Object.entries(target).filter(([name]) => name !== token));
}

/** At its old place, if it has one. `__proto__` is a member like any other. */
function withMember(target: JsonObject, name: string, value: Json): JsonObject {
  return Object.fromEntries(new Map(Object.entries(target)).set(name, value));
}

function lookUp(target: Json, tokens: readonly string[], mayMiss: boolean): Json | undefined {
  let found: Json | undefined = target;
  for (const [position, token] of tokens.entries()) {
    const isLast = position === tokens.length - 1;
    if (isList(found)) found = found[indexOf(token, found.length, false)];
    else if (isObject(found)) found = Object.hasOwn(found, token) ? found[token] : undefined;
    else throw patchDoesNotApply();
    if (found === undefined && !(mayMiss && isLast)) throw patchDoesNotApply();
  }
  return found;
}

/** As the library of the real one reads it: `01` is 1, and -1 the last one, or where the next one would be. */
function indexOf(token: string, length: number, mayAppend: boolean): number {
  if (token === '-' && mayAppend) return length;
  if (!/^-?\d{1,9}$/.test(token)) throw patchDoesNotApply();
  const places = length + (mayAppend ? 1 : 0);
  const index = Number(token) < 0 ? places + Number(token) : Number(token);
  if (index < 0 || index >= places) throw patchDoesNotApply();
  return index;
}

/** RFC 6901; what stands before the first slash is not looked at, as the real one does. */
function tokensOf(path: string): readonly string[] {
  if (path === '') return [];
  if (!path.includes('/')) throw patchDoesNotApply();
  return path
    .split('/')
    .slice(1)
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function needed(value: Json | undefined): Json {
  return value ?? null;
}
