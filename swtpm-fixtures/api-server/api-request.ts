import { badRequest } from './status.ts';
import type { User } from './users.ts';

/** The empty one stands for a method that the API does not know. */
export type Verb =
  | 'get'
  | 'list'
  | 'watch'
  | 'create'
  | 'update'
  | 'patch'
  | 'delete'
  | 'deletecollection'
  | '';

/** One request, once it is known who asks. */
export interface ApiRequest {
  readonly user: User;
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly body: Buffer;
  readonly contentType: string;
  readonly accept: string;
  readonly userAgent: string;
}

/** What a request is about, as its path says. */
export interface ResourceRequest {
  readonly verb: Verb;
  readonly group: string;
  readonly version: string;
  /** Plural. */
  readonly resource: string;
  readonly subresource: string;
  /** Empty: none, or of all namespaces. */
  readonly namespace: string;
  /** Empty: a collection. */
  readonly name: string;
  /** The one object that a list or watch asks for by its field: rights on that one are enough. */
  readonly onlyName: string;
  /** The one node whose pods a list or watch asks for. */
  readonly onlyNode: string;
  readonly query: URLSearchParams;
}

const verbs: Readonly<Record<string, readonly [ofOne: Verb, ofAll: Verb]>> = {
  GET: ['get', 'list'],
  HEAD: ['get', 'list'],
  POST: ['create', 'create'],
  PUT: ['update', 'update'],
  PATCH: ['patch', 'patch'],
  DELETE: ['delete', 'deletecollection'],
};

/**
 * Null for a path that is about no resource, such as `/version` or the list of a group's resources.
 * @throws ApiError 400 for a name that no object has
 */
export function parseResourceRequest(method: string, target: string): ResourceRequest | null {
  const { path, query } = parseTarget(target);
  const parts = path
    .replace(/^\/+|\/+$/g, '')
    .split('/')
    .map(decode);
  const isCore = parts[0] === 'api';
  if (!isCore && parts[0] !== 'apis') return null;
  const [group, version, ...rest] = isCore ? ['', ...parts.slice(1)] : parts.slice(1);
  if (group === undefined || version === undefined || rest.length === 0) return null;

  const inNamespace = rest[0] === 'namespaces' && rest.length > 2 && !isOfNamespace(rest[2]);
  const namespace = inNamespace ? (rest[1] ?? '') : '';
  if (inNamespace && namespace === '') throw badRequest('Namespace parameter required.');
  const [resource = '', name = '', subresource = ''] = inNamespace ? rest.slice(2) : rest;
  for (const part of [name, namespace]) checkName(part);
  const [ofOne, ofAll] = verbs[method] ?? ['', ''];
  const isList = name === '' && ofAll === 'list';
  const isWatch = isList && ['true', '1'].includes(query.get('watch') ?? '');
  const only = (field: string) =>
    (isList && new RegExp(`^${field}=([^,=]+)$`).exec(query.get('fieldSelector') ?? '')?.[1]) || '';
  return {
    verb: isWatch ? 'watch' : name === '' ? ofAll : ofOne,
    ...{ group, version, resource, subresource },
    namespace: resource === 'namespaces' ? name : namespace,
    name,
    onlyName: only('metadata.name'),
    onlyNode: only('spec.nodeName'),
    query,
  };
}

/** As it was sent: a parser of URLs would take dots as steps to another path. */
export function parseTarget(target: string): { readonly path: string; readonly query: URLSearchParams } {
  const end = target.indexOf('?');
  return end === -1
    ? { path: target, query: new URLSearchParams() }
    : { path: target.slice(0, end), query: new URLSearchParams(target.slice(end)) };
}

function checkName(name: string): void {
  const what = `Name parameter invalid: ${JSON.stringify(name)}`;
  if (name === '.' || name === '..') throw badRequest(`${what}: may not be '${name}'`);
  for (const letter of ['/', '%']) {
    if (name.includes(letter)) throw badRequest(`${what}: may not contain '${letter}'`);
  }
}

function isOfNamespace(part: string | undefined): boolean {
  return part === 'status' || part === 'finalize';
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw badRequest(`the path of the request holds what is not percent-encoded: ${part}`);
  }
}
