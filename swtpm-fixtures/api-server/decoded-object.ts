import type { ResourceRequest } from './api-request.ts';
import { pruneBuiltin } from './builtin-fields.ts';
import { type DecodedBody, decodeObject, unknownOfMetadata } from './decode.ts';
import type { KubeObject, Metadata } from './json.ts';
import type { ResourceType } from './resource-type.ts';
import { ApiError, badRequest, invalid, invalidValue } from './status.ts';

export interface DecodedObject {
  readonly object: KubeObject;
  /** What was left out of the object, for the header `Warning`. */
  readonly warnings: readonly string[];
}

/**
 * In shape, in its place, and without what the type does not know; the request says how loud that is told.
 * @throws ApiError 400; 422 where a patch makes what is no such object
 */
export function decodedObject(
  type: ResourceType,
  request: ResourceRequest,
  body: DecodedBody,
  isApplied = false,
): DecodedObject {
  const shape = () => shaped(type, body, isApplied);
  const { decoded, pruned } = request.verb === 'patch' ? patched(shape) : shape();
  const { apiVersion, kind, metadata } = decoded;
  const object = inPlace(type, request, { ...pruned.object, apiVersion, kind, metadata });
  const validation = request.query.get('fieldValidation');
  if (validation === 'Ignore') return { object, warnings: [] };
  const unknown = [...pruned.unknown, ...unknownOfMetadata(body.value).map((name) => `metadata.${name}`)];
  const warnings = [...body.duplicates, ...unknown.map((name) => `unknown field "${name}"`)];
  if (warnings.length === 0 || validation !== 'Strict') return { object, warnings };
  const text = `strict decoding error: ${warnings.join(', ')}`;
  if (request.verb === 'patch') throw noObject(text);
  const what = `${type.kind} in version "${type.version}" cannot be handled as a ${type.kind}`;
  throw badRequest(`${what}: ${text}`);
}

function shaped(type: ResourceType, { value }: DecodedBody, isApplied: boolean) {
  const decoded = decodeObject(value ?? {}, type);
  return {
    decoded,
    pruned: type.strategy.prune?.(decoded, isApplied) ?? pruneBuiltin(decoded, type.group, type.kind),
  };
}

function patched<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    throw error instanceof ApiError && error.code === 400 ? noObject(error.message) : error;
  }
}

function noObject(text: string): ApiError {
  return invalid({ group: '', resource: '' }, [invalidValue('patch', '', text)]);
}

/** In the namespace of the path, and in no other. */
function inPlace(type: ResourceType, { namespace }: ResourceRequest, object: KubeObject): KubeObject {
  const { namespace: said, ...metadata } = object.metadata;
  if (!type.namespaced) {
    if (said !== undefined) throw badRequest('namespace should not be set on a cluster-scoped object');
    return object;
  }
  if (said !== undefined && said !== namespace) {
    const text = `the namespace of the provided object does not match the namespace sent on the request`;
    throw badRequest(text);
  }
  return { ...object, metadata: asMetadata(metadata, namespace) };
}

function asMetadata(metadata: Omit<Metadata, 'namespace'>, namespace: string): Metadata {
  const { name, uid, resourceVersion, creationTimestamp } = metadata;
  return {
    ...metadata,
    name: String(name),
    namespace,
    uid: String(uid),
    resourceVersion: String(resourceVersion),
    creationTimestamp: String(creationTimestamp),
  };
}
