import type { ResourceRequest } from './api-request.ts';
import { checkListOptions, checkReached, revisionOf } from './list-options.ts';
import { type ObjectStore, Stored } from './object-store.ts';
import { apiVersionOf, type ResourceType, tableOf } from './resource-type.ts';
import { matcherOf } from './selectors.ts';
import { badRequest, ExpiredContinue, expired, unexplained } from './status.ts';

/** The text of a list: objects are written once each, however often they are listed. @throws ApiError 400, 410, 422, 500, 504 */
export function listText(store: ObjectStore, type: ResourceType, request: ResourceRequest): string {
  const { query } = request;
  checkListOptions(query, false);
  const matches = matcherOf(query, type);
  const start = startOf(query);
  const revision = revisionToList(store, query, start);
  // The cache of watches, which answers for version 0, knows no pages.
  const limit = isAnyVersion(query) ? 0 : Math.max(0, Number(query.get('limit') ?? 0));

  const table = tableOf(type);
  const prefix = prefixOf(type, request);
  const rows = revision === null ? store.list(table, prefix) : store.listAt(revision, table, prefix);
  if (rows === null) throw tooOld(start);
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
  const shown = revision ?? store.revision;
  const metadata = {
    resourceVersion: String(shown),
    ...(remaining > 0 && { continue: continueText(shown, last) }),
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

/** Of one object: whether the version is there at which it is asked for. @throws ApiError 400, 504 */
export function checkReadable(store: ObjectStore, query: URLSearchParams): void {
  checkReached(revisionOf(query, badRequest) ?? 0, store);
}

function isAnyVersion(query: URLSearchParams): boolean {
  return query.get('resourceVersion') === '0' && (query.get('continue') ?? '') === '';
}

/** Null: the newest. */
function revisionToList(store: ObjectStore, query: URLSearchParams, start: Start | null): number | null {
  if (start !== null) return start.revision;
  const wanted = revisionOf(query, badRequest);
  if (wanted === null || wanted === 0) return null;
  const match = query.get('resourceVersionMatch');
  const isExact = match === 'Exact' || (match !== 'NotOlderThan' && Number(query.get('limit') ?? 0) > 0);
  if (isExact && wanted > store.revision) {
    throw unexplained('etcdserver: mvcc: required revision is a future revision');
  }
  checkReached(wanted, store);
  return isExact ? wanted : null;
}

/** Where a page begins. A null revision: at the newest, after the first one was lost. */
interface Start {
  readonly revision: number | null;
  readonly after: string;
}

function startOf(query: URLSearchParams): Start | null {
  const text = query.get('continue') ?? '';
  if (text === '') return null;
  if (!['', '0'].includes(query.get('resourceVersion') ?? '')) {
    throw badRequest('specifying resource version is not allowed when using continue');
  }
  const [, revision, after] =
    /^\{"v":"meta\.k8s\.io\/v1","rv":(-1|\d+),"start":"([^"]*)"\}$/.exec(
      Buffer.from(text, 'base64url').toString('utf8'),
    ) ?? [];
  if (revision === undefined || after === undefined) {
    throw badRequest('invalid continue token: continue key is not valid');
  }
  return { revision: revision === '-1' ? null : Number(revision), after };
}

function continueText(revision: number, after: string): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: revision, start: after })).toString(
    'base64url',
  );
}

function tooOld(start: Start | null) {
  if (start === null) return expired('The resourceVersion for the provided list is too old.');
  return new ExpiredContinue(continueText(-1, start.after));
}
