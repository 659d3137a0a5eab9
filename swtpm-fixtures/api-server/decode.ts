import { parseDocument, visit } from 'yaml';
import { z } from 'zod';
import { duplicateMembers } from './duplicate-members.ts';
import { isObject, type Json, type JsonObject, type KubeObject } from './json.ts';
import { apiVersionOf, type ResourceType } from './resource-type.ts';
import { ApiError, badRequest, unsupportedMediaType } from './status.ts';

/** The body of a request, and what it says twice. Empty: null. */
export interface DecodedBody {
  readonly value: Json;
  readonly duplicates: readonly string[];
}

/** @throws ApiError 400, 415 */
export function decodeBody(body: Buffer, contentType: string): DecodedBody {
  if (body.length === 0) return { value: null, duplicates: [] };
  const type = mediaTypeOf(contentType);
  const text = body.toString('utf8');
  if (type.endsWith('json') || type === '')
    return { value: parseJson(text), duplicates: duplicateMembers(text) };
  if (type.endsWith('yaml')) return parsePlain(text) ?? parseYamlText(text);
  if (type.endsWith('protobuf')) {
    throw badRequest('the object provided is unrecognized: this server of tests decodes no protobuf');
  }
  throw unsupportedMediaType(['application/json', 'application/yaml']);
}

export function mediaTypeOf(contentType: string): string {
  return contentType.split(';')[0]?.trim().toLowerCase() ?? '';
}

export function parseJson(text: string): Json {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw badRequest(`the object provided is unrecognized (must be of type application/json): ${why}`);
  }
}

/** YAML that is JSON, as most clients apply it, and says nothing twice: its parser needs a twentieth of the time. */
function parsePlain(text: string): DecodedBody | null {
  try {
    const value: Json = JSON.parse(text);
    return duplicateMembers(text).length === 0 ? { value, duplicates: [] } : null;
  } catch {
    return null;
  }
}

function parseYamlText(text: string): DecodedBody {
  try {
    const document = parseDocument(text, { uniqueKeys: false });
    const [error] = document.errors;
    if (error !== undefined) throw error;
    const duplicates: string[] = [];
    visit(document, {
      Map(_, { items }) {
        const keys = items.map(({ key }) => String(key));
        for (const [index, key] of keys.entries()) {
          if (keys.indexOf(key) < index) duplicates.push(`key "${key}" already set in map`);
        }
      },
    });
    // What YAML has beyond JSON is no object of the API.
    return { value: JSON.parse(JSON.stringify(document.toJS())), duplicates };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw badRequest(`error decoding YAML: ${why}`);
  }
}

/** An object of this type, its metadata in shape; what is not said is empty. @throws ApiError 400 */
export function decodeObject(body: Json, type: ResourceType): KubeObject {
  if (!isObject(body)) throw badRequest(`the body of the request is no object of kind ${type.kind}`);
  const apiVersion = apiVersionOf(type);
  const { apiVersion: version = apiVersion, kind = type.kind } = body;
  if (version !== apiVersion || kind !== type.kind) {
    const [said, wanted] = [`${version}, Kind=${kind}`, `${apiVersion}, Kind=${type.kind}`];
    throw badRequest(`${said} in the body of the request does not match the expected ${wanted}`);
  }
  const metadata = metadataSchema.safeParse(body.metadata ?? {});
  if (!metadata.success) {
    const [issue] = metadata.error.issues;
    const field = ['metadata', ...(issue?.path ?? [])].join('.');
    const text = `${type.kind} in version "${type.version}" cannot be handled as a ${type.kind}`;
    throw new ApiError(
      400,
      'BadRequest',
      `${text}: json: cannot unmarshal ${field}: ${issue?.message ?? ''}`,
    );
  }
  return { ...body, apiVersion, kind: type.kind, metadata: withoutEmpty(metadata.data) };
}

/** Members of the metadata that no object has. */
export function unknownOfMetadata(body: Json): readonly string[] {
  if (!isObject(body) || !isObject(body.metadata)) return [];
  const known = Object.keys(metadataSchema.shape);
  return Object.keys(body.metadata).filter((name) => !known.includes(name));
}

const jsonSchema = z.json();
const texts = z.record(z.string(), z.string());
const ownerReference = z.object({
  apiVersion: z.string().default(''),
  kind: z.string().default(''),
  name: z.string().default(''),
  uid: z.string().default(''),
  controller: z.boolean().optional(),
  blockOwnerDeletion: z.boolean().optional(),
});
const metadataSchema = z.object({
  name: z.string().nullish(),
  generateName: z.string().nullish(),
  namespace: z.string().nullish(),
  selfLink: z.string().nullish(),
  uid: z.string().nullish(),
  resourceVersion: z.string().nullish(),
  generation: z.int().nullish(),
  creationTimestamp: z.iso.datetime({ offset: true }).nullish(),
  deletionTimestamp: z.iso.datetime({ offset: true }).nullish(),
  deletionGracePeriodSeconds: z.int().nullish(),
  labels: texts.nullish(),
  annotations: texts.nullish(),
  finalizers: z.array(z.string()).nullish(),
  ownerReferences: z.array(ownerReference).nullish(),
  managedFields: z.array(z.record(z.string(), jsonSchema)).nullish(),
});

/** As the real one writes it: an empty map or list is no member. */
function withoutEmpty({ selfLink: _, ...metadata }: z.infer<typeof metadataSchema>): KubeObject['metadata'] {
  const { name, uid, resourceVersion, creationTimestamp, ...rest } = metadata;
  return {
    name: name ?? '',
    ...(rest.generateName && { generateName: rest.generateName }),
    ...(rest.namespace && { namespace: rest.namespace }),
    uid: uid ?? '',
    resourceVersion: resourceVersion ?? '',
    ...(rest.generation && { generation: rest.generation }),
    creationTimestamp: creationTimestamp ?? '',
    ...(rest.deletionTimestamp && { deletionTimestamp: rest.deletionTimestamp }),
    ...(rest.deletionGracePeriodSeconds != null && {
      deletionGracePeriodSeconds: rest.deletionGracePeriodSeconds,
    }),
    ...(hasMembers(rest.labels) && { labels: rest.labels }),
    ...(hasMembers(rest.annotations) && { annotations: rest.annotations }),
    ...(rest.finalizers?.length && { finalizers: rest.finalizers }),
    ...(rest.ownerReferences?.length && { ownerReferences: rest.ownerReferences.map(withoutUndefined) }),
    // An empty list says that they are to be reset.
    ...(rest.managedFields && { managedFields: rest.managedFields }),
  };
}

function withoutUndefined({ controller, blockOwnerDeletion, ...owner }: z.infer<typeof ownerReference>) {
  return {
    ...owner,
    ...(controller !== undefined && { controller }),
    ...(blockOwnerDeletion !== undefined && { blockOwnerDeletion }),
  };
}

function hasMembers(map: Readonly<Record<string, string>> | null | undefined): map is Record<string, string> {
  return map !== null && map !== undefined && Object.keys(map).length > 0;
}

/** A copy without empty lists, as the real one writes its own types. */
export function withoutEmptyLists(value: Json): Json {
  if (Array.isArray(value)) return value.map(withoutEmptyLists);
  if (!isObject(value)) return value;
  const kept: [string, Json][] = [];
  for (const [name, member] of Object.entries(value)) {
    if (member === null || (Array.isArray(member) && member.length === 0)) continue;
    kept.push([name, withoutEmptyLists(member)]);
  }
  return Object.fromEntries(kept);
}

export function asObject(value: Json): JsonObject {
  if (!isObject(value)) throw badRequest('what the patch makes is no object');
  return value;
}
