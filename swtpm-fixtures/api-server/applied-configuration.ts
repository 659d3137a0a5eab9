import type { ResourceRequest } from './api-request.ts';
import { isObject, type JsonObject, type KubeObject } from './json.ts';
import { apiVersionOf, type ResourceType } from './resource-type.ts';
import { ApiError } from './status.ts';

/** What an apply wants: what was said and its door hears, and nothing that a schema adds. */
export function configurationOf(
  decoded: KubeObject,
  said: JsonObject,
  subresource: string,
  type: ResourceType,
): KubeObject {
  return withoutForeignPart(withoutDefaults(decoded, said), subresource, type);
}

/** An apply knows its schema, and takes nothing that is not in it. */
export function notInSchema(
  type: ResourceType,
  { namespace, name }: ResourceRequest,
  unknown: string,
): ApiError {
  const where = namespace === '' ? `/${name}` : `${namespace}/${name}`;
  const what = `(${where}; ${apiVersionOf(type)}, Kind=${type.kind})`;
  const field = unknown.replace(/^unknown field "|"$/g, '');
  const text = `failed to create typed patch object ${what}: .${field}: field not declared in schema`;
  return new ApiError(500, '', text);
}

/** What was said, and not what the schema adds: whoever applies owns only that. */
function withoutDefaults(object: KubeObject, said: JsonObject): KubeObject {
  return {
    ...onlySaid(object, said),
    apiVersion: object.apiVersion,
    kind: object.kind,
    metadata: object.metadata,
  };
}

function onlySaid(object: JsonObject, said: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(object)
      .filter(([name]) => Object.hasOwn(said, name))
      .map(([name, member]) => {
        const its = said[name];
        return [name, isObject(member) && isObject(its) ? onlySaid(member, its) : member];
      }),
  );
}

/** Each door writes its own part: an applied status at the main one is not heard, nor the rest at `status`. */
function withoutForeignPart(object: KubeObject, subresource: string, type: ResourceType): KubeObject {
  const { apiVersion, kind, metadata, status: itsStatus, ...rest } = object;
  if (!type.subresources.includes('status')) return object;
  if (subresource !== 'status') return { ...rest, apiVersion, kind, metadata };
  return { apiVersion, kind, metadata, ...(itsStatus !== undefined && { status: itsStatus }) };
}
