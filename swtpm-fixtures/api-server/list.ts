import type { ResourceRequest } from './api-request.ts';
import { type ObjectStore, Stored } from './object-store.ts';
import { apiVersionOf, type ResourceType, tableOf } from './resource-type.ts';
import { matcherOf } from './selectors.ts';
import { ApiError, badRequest, expired } from './status.ts';

/** The text of a list: objects are written once each, however often they are listed. @throws ApiError 400, 410, 504 */
export function listText(store: ObjectStore, type: ResourceType, request: ResourceRequest): string {
  const { query } = request;
  const matches = matcherOf(query);
  const limit = limitOf(query.get('limit'));
  const continued = query.get('continue') ?? '';
  const start = continued === '' ? null : parseContinue(continued);
  checkVersion(store, query, start?.revision ?? null);

  const rows = store.list(tableOf(type), prefixOf(type, request));
  const found: Stored[] = [];
  let last = '';
  let remaining = 0;
  for (const [key, stored] of rows) {
    if (start !== null && key <= start.after) continue;
    if (matches !== null && !matches(shownAs(stored, type).object)) continue;
    if (limit > 0 && found.length === limit) {
      remaining += 1;
      continue;
    }
    found.push(stored);
    last = key;
  }
  const revision = start?.revision ?? store.revision;
  const metadata = {
    resourceVersion: String(revision),
    ...(remaining > 0 && { continue: continueText(revision, last) }),
    ...(remaining > 0 && matches === null && { remainingItemCount: remaining }),
  };
  const items = found.map((stored) => shownAs(stored, type).text()).join(',');
  const head = JSON.stringify({ kind: `${type.kind}List`, apiVersion: apiVersionOf(type), metadata });
  return `${head.slice(0, -1)},"items":[${items}]}`;
}

export function prefixOf(type: ResourceType, { namespace }: ResourceRequest): string {
  return type.namespaced && namespace !== '' ? `${namespace}/` : '';
}

/** As this type shows it: events are one table with two faces. */
export function shownAs(stored: Stored, type: ResourceType): Stored {
  return type.face === undefined ? stored : new Stored(type.face.toShown(stored.object));
}

/** `resourceVersion` of a query: empty and 0 are any, a number that was never given out is an error. */
export function revisionOf(query: URLSearchParams): number | null {
  const text = query.get('resourceVersion') ?? '';
  if (text === '') return null;
  if (!/^\d{1,15}$/.test(text)) throw badRequest(`resourceVersion: Invalid value: ${JSON.stringify(text)}`);
  return Number(text);
}

/** @throws ApiError 504 for a version that is not there yet, 410 for an exact one that is gone */
function checkVersion(store: ObjectStore, query: URLSearchParams, continued: number | null): void {
  if (continued !== null) {
    if (continued < store.forgotten) {
      throw expired(
        'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.',
      );
    }
    return;
  }
  const wanted = revisionOf(query);
  if (wanted === null || wanted === 0) return;
  if (wanted > store.revision) throw tooLarge(wanted, store.revision);
  const isExact = query.get('resourceVersionMatch') === 'Exact' || Number(query.get('limit') ?? 0) > 0;
  if (isExact && query.get('resourceVersionMatch') !== 'NotOlderThan' && wanted < store.forgotten) {
    throw expired(`The resourceVersion for the provided list is too old.`);
  }
}

function tooLarge(wanted: number, current: number): ApiError {
  const message = `Too large resource version: ${wanted}, current: ${current}`;
  return new ApiError(504, 'Timeout', `Timeout: ${message}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
}

function limitOf(text: string | null): number {
  if (text === null || text === '') return 0;
  if (!/^\d{1,9}$/.test(text)) throw badRequest(`limit: Invalid value: ${JSON.stringify(text)}`);
  return Number(text);
}

function continueText(revision: number, after: string): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: revision, start: after })).toString(
    'base64url',
  );
}

function parseContinue(text: string): { readonly revision: number; readonly after: string } {
  const [, revision, after] =
    /^\{"v":"meta\.k8s\.io\/v1","rv":(\d+),"start":"([^"]*)"\}$/.exec(
      Buffer.from(text, 'base64url').toString('utf8'),
    ) ?? [];
  if (revision === undefined || after === undefined) throw badRequest('continue key is not valid');
  return { revision: Number(revision), after };
}
