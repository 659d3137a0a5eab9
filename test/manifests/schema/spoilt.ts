import { isList, isObject, type Json, type JsonObject } from '../../../swtpm-fixtures/api-server/json.ts';

/** An object with one thing wrong, and where: `spec.ports[0].name`. */
export interface Spoilt {
  readonly path: string;
  readonly object: JsonObject;
}

/** The object once for each of its members at every level, with this one misspelt. */
export function misspelt(object: JsonObject): readonly Spoilt[] {
  return placesOf(object).flatMap(({ keys, path }) => {
    const last = keys.at(-1);
    if (typeof last !== 'string') return [];
    // Its last letter twice.
    const wrong = `${last}${last.at(-1)}`;
    return [{ path: `${path.slice(0, -last.length)}${wrong}`, object: renamed(object, keys, wrong) }];
  });
}

/** The object once for each value at every level, with one of another type in its place. */
export function mistyped(object: JsonObject): readonly Spoilt[] {
  return placesOf(object).map(({ keys, path, value }) => ({
    path,
    object: replaced(object, keys, isObject(value) ? ['wrong'] : { wrong: 'wrong' }),
  }));
}

/** A value in an object, and how it is reached. */
interface Place {
  readonly keys: readonly (string | number)[];
  readonly path: string;
  readonly value: Json;
}

/** Every value of it but itself, at every level. */
export function placesOf(object: JsonObject): readonly Place[] {
  const found: Place[] = [];
  const visit = (value: Json, keys: Place['keys'], path: string): void => {
    if (keys.length > 0) found.push({ keys, path, value });
    if (isList(value))
      for (const [index, item] of value.entries()) visit(item, [...keys, index], `${path}[${index}]`);
    if (isObject(value))
      for (const [name, member] of Object.entries(value))
        visit(member, [...keys, name], path === '' ? name : `${path}.${name}`);
  };
  visit(object, [], '');
  return found;
}

function renamed(object: JsonObject, keys: Place['keys'], name: string): JsonObject {
  const last = keys.at(-1);
  return changed(object, keys.slice(0, -1), (parent) =>
    isObject(parent)
      ? Object.fromEntries(Object.entries(parent).map(([key, member]) => [key === last ? name : key, member]))
      : parent,
  );
}

/** The object with another value in one place. */
export function replaced(object: JsonObject, keys: Place['keys'], value: Json): JsonObject {
  return changed(object, keys, () => value);
}

function changed(object: JsonObject, keys: Place['keys'], change: (value: Json) => Json): JsonObject {
  const visit = (value: Json, rest: Place['keys']): Json => {
    const [first, ...others] = rest;
    if (first === undefined) return change(value);
    if (isList(value)) return value.map((item, index) => (index === first ? visit(item, others) : item));
    if (!isObject(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, member]) => [key, key === first ? visit(member, others) : member]),
    );
  };
  const made = visit(object, keys);
  if (!isObject(made)) throw new Error('an object became something else');
  return made;
}
