import type { ResourceRequest } from './api-request.ts';
import type { JsonObject } from './json.ts';
import { prefixOf, revisionOf, shownAs } from './list.ts';
import type { ObjectStore, StoredChange } from './object-store.ts';
import { apiVersionOf, type ResourceType, tableOf } from './resource-type.ts';
import { matcherOf } from './selectors.ts';
import { expired, forbiddenField, invalid } from './status.ts';

/** One watch, from its request until somebody ends it. */
export interface Watch {
  /** Milliseconds after which the server ends it. */
  readonly timeout: number;
  readonly wantsBookmarks: boolean;
  /** Sends what is there already, and from then on each change. */
  start(send: (line: string) => void, end: () => void): Disposable;
  bookmark(): string;
}

const usualTimeout = 30 * 60_000;

/** @throws ApiError 400, 422 */
export function openWatch(store: ObjectStore, type: ResourceType, request: ResourceRequest): Watch {
  const { query } = request;
  if (query.has('sendInitialEvents')) {
    // So answers 1.33, where WatchList is off.
    throw invalid({ group: 'meta.k8s.io', resource: 'ListOptions' }, [
      forbiddenField(
        'sendInitialEvents',
        'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
      ),
    ]);
  }
  const matches = matcherOf(query);
  const revision = revisionOf(query);
  const table = tableOf(type);
  const prefix = prefixOf(type, request);
  const seconds = Number(query.get('timeoutSeconds') ?? 0);
  const lineOf = (change: StoredChange): string | null => {
    if (!change.key.startsWith(prefix)) return null;
    const was = change.before !== null && (matches?.(shownAs(change.before, type).object) ?? true);
    const is = change.after !== null && (matches?.(shownAs(change.after, type).object) ?? true);
    if (!was && !is) return null;
    return eventLine(was ? (is ? 'MODIFIED' : 'DELETED') : 'ADDED', shownAs(change.shown, type).text());
  };
  return {
    timeout: seconds > 0 ? seconds * 1000 : usualTimeout,
    wantsBookmarks: ['true', '1'].includes(query.get('allowWatchBookmarks') ?? ''),
    bookmark() {
      const metadata = { resourceVersion: String(store.revision), creationTimestamp: null };
      return eventLine(
        'BOOKMARK',
        JSON.stringify({ kind: type.kind, apiVersion: apiVersionOf(type), metadata }),
      );
    },
    start(send, end) {
      if (revision === null || revision === 0) {
        for (const [, stored] of store.list(table, prefix)) {
          const shown = shownAs(stored, type);
          if (matches?.(shown.object) ?? true) send(eventLine('ADDED', shown.text()));
        }
      } else {
        const missed = store.since(table, revision);
        if (missed === null) {
          send(errorLine(expired(`too old resource version: ${revision} (${store.forgotten})`).status()));
          end();
          return { [Symbol.dispose]: () => undefined };
        }
        for (const change of missed) {
          const line = lineOf(change);
          if (line !== null) send(line);
        }
      }
      return store.listen((change) => {
        if (change.table !== table) return;
        const line = lineOf(change);
        if (line !== null) send(line);
      });
    },
  };
}

export function errorLine(status: JsonObject): string {
  return eventLine('ERROR', JSON.stringify(status));
}

function eventLine(type: string, object: string): string {
  return `{"type":"${type}","object":${object}}\n`;
}
