import { stringify } from 'yaml';
import { isList, isObject, type Json, type JsonObject } from './json.ts';
import { ApiError, notAcceptable } from './status.ts';

/** How an answer is written. */
export interface Representation {
  readonly format: 'json' | 'yaml';
  /** Objects are shown by their metadata alone. */
  readonly metadataOnly: boolean;
}

const offered = ['application/json', 'application/yaml'] as const;
const wildcards: readonly string[] = ['', '*/*', 'application/*'];

/** The first of `Accept` that can be given; tables cannot. @throws ApiError 406 */
export function negotiate(accept: string): Representation {
  for (const range of accept.split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const as = parameters.find((parameter) => parameter.startsWith('as='))?.slice(3);
    const format = type === 'application/yaml' ? 'yaml' : 'json';
    const isOffered = wildcards.includes(type) || offered.some((other) => other === type);
    if (isOffered && as === undefined) return { format, metadataOnly: false };
    const isPart = as === 'partialobjectmetadata' || as === 'partialobjectmetadatalist';
    if (isOffered && isPart) return { format, metadataOnly: true };
  }
  if (!accept.includes('as=')) throw notAcceptable(offered);
  const message = `only the following media types are accepted: ${offered.join(', ')}`;
  throw new ApiError(406, 'NotAcceptable', message);
}

export function represent(object: JsonObject, { format, metadataOnly }: Representation): string {
  const shown = metadataOnly ? metadataOf(object) : object;
  return format === 'yaml' ? stringify(shown) : JSON.stringify(shown);
}

const metaVersion = { apiVersion: 'meta.k8s.io/v1' };

function metadataOf(object: JsonObject): JsonObject {
  const { kind, metadata = {}, items } = object;
  if (kind === 'Status') return object;
  if (!isList(items)) return { kind: 'PartialObjectMetadata', ...metaVersion, metadata };
  return {
    ...{ kind: 'PartialObjectMetadataList', ...metaVersion, metadata },
    items: items.map((item): Json => (isObject(item) ? metadataOf(item) : item)),
  };
}
