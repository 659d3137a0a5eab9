import { badRequest } from './status.ts';
import type { User } from './users.ts';

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

/** One request, once it is known who asks. */
export interface ApiRequest {
  readonly user: User;
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly body: Buffer;
  readonly contentType: string;
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

/** Null for a path that is about no resource, such as `/version` or the list of a group's resources. */
export function parseResourceRequest(method: string, target: string): ResourceRequest | null {
  const url = parseTarget(target);
  const parts = url.pathname
    .split('/')
    .filter((part) => part !== '')
    .map(decode);
  const isCore = parts[0] === 'api';
  if (!isCore && parts[0] !== 'apis') return null;
  const [group, version, ...rest] = isCore ? ['', ...parts.slice(1)] : parts.slice(1);
  if (group === undefined || version === undefined || rest.length === 0) return null;

  const inNamespace = rest[0] === 'namespaces' && rest.length > 2 && !isOfNamespace(rest[2]);
  const namespace = inNamespace ? (rest[1] ?? '') : '';
  const [resource = '', name = '', subresource = ''] = inNamespace ? rest.slice(2) : rest;
  const [ofOne, ofAll] = verbs[method] ?? [];
  if (ofOne === undefined || ofAll === undefined) return null;
  const isWatch = ofAll === 'list' && ['true', '1'].includes(url.searchParams.get('watch') ?? '');
  const onlyName = /^metadata\.name=([^,=]+)$/.exec(url.searchParams.get('fieldSelector') ?? '')?.[1] ?? '';
  return {
    verb: isWatch ? 'watch' : name === '' ? ofAll : ofOne,
    ...{ group, version, resource, subresource },
    namespace: resource === 'namespaces' ? name : namespace,
    name,
    onlyName: name === '' ? onlyName : '',
    query: url.searchParams,
  };
}

export function parseTarget(target: string): URL {
  try {
    return new URL(target, 'https://api');
  } catch {
    throw badRequest('the path of the request is no path');
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
