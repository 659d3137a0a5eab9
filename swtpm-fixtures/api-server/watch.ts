import type { ResourceRequest } from './api-request.ts';
import { at, type Json, type JsonObject, textAt } from './json.ts';
import { prefixOf, shownAs } from './list.ts';
import { checkListOptions, revisionOf } from './list-options.ts';
import type { ObjectStore, StoredChange } from './object-store.ts';
import { apiVersionOf, type ResourceType, tableOf } from './resource-type.ts';
import { matcherOf } from './selectors.ts';
import { expired, unexplained } from './status.ts';

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

/** @throws ApiError 400, 422, 500 */
export function openWatch(store: ObjectStore, type: ResourceType, request: ResourceRequest): Watch {
  const { query } = request;
  checkListOptions(query, true);
  const matches = matcherOf(query, type);
  const revision = revisionOf(query, unexplained);
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
          send(
            errorLine(expired(`too old resource version: ${revision} (${store.forgotten(table)})`).status()),
          );
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

/** The same watch, its objects written in another way. */
export function withObjects(watch: Watch, show: (object: Json) => string): Watch {
  const rewritten = (line: string): string => {
    const event: Json = JSON.parse(line);
    return eventLine(textAt(event, 'type') ?? '', show(at(event, 'object') ?? {}));
  };
  return {
    ...watch,
    bookmark: () => rewritten(watch.bookmark()),
    start: (send, end) => watch.start((line) => send(rewritten(line)), end),
  };
}

export function errorLine(status: JsonObject): string {
  return eventLine('ERROR', JSON.stringify(status));
}

function eventLine(type: string, object: string): string {
  return `{"type":"${type}","object":${object}}\n`;
}
