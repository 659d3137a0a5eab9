import type { ResourceRequest } from './api-request.ts';
import { fieldTypeOf } from './field-type.ts';
import { isObject, type JsonObject } from './json.ts';
import { apiVersionOf, type ResourceType } from './resource-type.ts';
import { type ApiError, reasonless } from './status.ts';
import { faultIn } from './typed-value.ts';

/** What an apply wants: what was said and its door hears. @throws ApiError 500 where its schema cannot hold it */
export function configurationOf(said: JsonObject, request: ResourceRequest, type: ResourceType): JsonObject {
  const fault = faultIn(said, fieldTypeOf(type));
  if (fault !== null) throw notInSchema(type, request, fault);
  return withoutForeignPart(said, request.subresource, type);
}

function notInSchema(type: ResourceType, { namespace, name }: ResourceRequest, fault: string): ApiError {
  const what = `(${namespace}/${name}; ${apiVersionOf(type)}, Kind=${type.kind})`;
  return reasonless(`failed to create typed patch object ${what}: ${fault}`);
}

/** Each door writes its own part: an applied status at the main one is not heard, nor the rest at `status`. */
function withoutForeignPart(said: JsonObject, subresource: string, type: ResourceType): JsonObject {
  if (!type.subresources.includes('status')) return said;
  const { apiVersion = '', kind = '', metadata = {}, status, ...rest } = said;
  const named = { apiVersion, kind, metadata: isObject(metadata) ? metadata : {} };
  if (subresource !== 'status') return { ...named, ...rest };
  return { ...named, ...(status !== undefined && { status }) };
}
