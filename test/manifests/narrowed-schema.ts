import {
  at,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textsAt,
} from '../../swtpm-fixtures/api-server/json.ts';

/** By what a schema of one version takes less than it did: objects that are stored could not be written any more, or would lose a part. */
export function narrowed(old: Json | undefined, next: Json | undefined, path: string): readonly string[] {
  if (!isObject(old)) return [];
  if (!isObject(next)) return [`${path} must stay`];
  const faults: string[] = [];
  if (at(old, 'type') !== at(next, 'type')) faults.push(`${path}.type may not change`);
  const wanted = textsAt(old, 'required');
  for (const name of textsAt(next, 'required'))
    if (!wanted.includes(name)) faults.push(`${path}: ${name} may not become required`);
  const words = listAt(next, 'enum');
  if (words.length > 0) {
    const before = listAt(old, 'enum');
    const gone = before.filter((word) => !words.includes(word));
    if (before.length === 0 || gone.length > 0) faults.push(`${path}.enum may only grow`);
  }
  for (const [limit, isTighter] of Object.entries(limits))
    if (isTighter(at(old, limit), at(next, limit))) faults.push(`${path}.${limit} may not become tighter`);
  for (const [name, member] of Object.entries(propertiesOf(old)))
    faults.push(...narrowed(member, propertiesOf(next)[name], `${path}.${name}`));
  for (const inner of ['items', 'additionalProperties'])
    faults.push(...narrowed(at(old, inner), at(next, inner), `${path}.${inner}`));
  return faults;
}

const isLower = (old: Json | undefined, next: Json | undefined): boolean =>
  typeof next === 'number' && (typeof old !== 'number' || next < old);
const isHigher = (old: Json | undefined, next: Json | undefined): boolean =>
  typeof next === 'number' && (typeof old !== 'number' || next > old);

const limits: Readonly<Record<string, (old: Json | undefined, next: Json | undefined) => boolean>> = {
  maxLength: isLower,
  maxItems: isLower,
  maxProperties: isLower,
  maximum: isLower,
  minLength: isHigher,
  minItems: isHigher,
  minProperties: isHigher,
  minimum: isHigher,
  pattern: (old, next) => next !== undefined && old !== next,
  format: (old, next) => next !== undefined && old !== next,
};

function propertiesOf(schema: JsonObject): JsonObject {
  const found = at(schema, 'properties');
  return isObject(found) ? found : {};
}
