import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { WatchRestartReason } from '../formats/cluster.ts';
import { ClusterError } from '../marking/ports.ts';
import { orNull } from './ask.ts';
import { linesOf } from './lines.ts';
import { parseNode } from './node.ts';
import type { NodeCache } from './node-cache.ts';
import { eventHead, NodeReading } from './node-reading.ts';
import type { Requests } from './requests.ts';

export interface NodeWatchParts {
  readonly requests: Pick<Requests, 'json' | 'stream'>;
  readonly cache: NodeCache;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  readonly on: {
    readonly restarted: (reason: WatchRestartReason) => void;
    /** Called with what cannot be read or reached; null: it works. */
    readonly fault: (fault: ClusterError | null) => void;
    /** An object that is not a Node by the rules of the API. */
    readonly unreadable: (error: unknown) => void;
  };
  readonly timings?: Partial<WatchTimings>;
}

/** All in milliseconds. */
export interface WatchTimings {
  /** The API ends a watch after this. */
  readonly watchFor: number;
  /** Nothing came, not even a bookmark, which the API sends about once a minute: the connection hangs. */
  readonly silentFor: number;
  /** Nothing was heard for so long that absence proves nothing any more. */
  readonly staleAfter: number;
  readonly backOffFrom: number;
  readonly backOffTo: number;
}

const defaultTimings: WatchTimings = {
  watchFor: 300_000,
  silentFor: 120_000,
  staleAfter: 180_000,
  backOffFrom: 500,
  backOffTo: 30_000,
};
const perPage = '100';
/** A watch that cannot go on from where it was: after this many attempts everything is listed again. */
const attempts = 3;

const list = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().nullish() }),
  items: z.array(z.unknown()).nullish(),
});
const event = z.object({ type: z.string(), object: z.unknown() });
const named = z.object({ metadata: z.object({ name: z.string().max(253) }) });
const versioned = z.object({ metadata: z.object({ resourceVersion: z.string() }) });
const coded = z.object({ code: z.number().optional(), message: z.string().optional() });

/** Lists all Nodes and then hears what changes, for as long as it is not ended. */
export class NodeWatch implements AsyncDisposable {
  readonly #parts: NodeWatchParts;
  readonly #timings: WatchTimings;
  readonly #ended = new AbortController();
  readonly #running: Promise<void>;
  readonly #reading: NodeReading;
  #heardAt: number | null = null;

  constructor(parts: NodeWatchParts) {
    this.#parts = parts;
    this.#timings = { ...defaultTimings, ...parts.timings };
    const { monotonic } = parts;
    this.#reading = new NodeReading({ monotonic, read: (name) => this.#read(name) });
    this.#running = this.#run();
  }

  /** Whether what the cache holds is all, and of now. */
  get synced(): boolean {
    return this.#heardAt !== null && this.#parts.monotonic() - this.#heardAt < this.#timings.staleAfter;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort(new Error('the server ends'));
    this.#reading.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#ended;
    const { on } = this.#parts;
    let version: string | null = null;
    let failures = 0;
    while (!signal.aborted) {
      try {
        version ??= await this.#list();
        const heard = await this.#watch(version);
        version = heard.version;
        if (signal.aborted) return;
        // Nothing heard, or nonsense: an API that ends each watch so is not asked in a loop.
        if (heard.isAlive && heard.why !== 'failed') failures = 0;
        if (!heard.isAlive || heard.why !== 'ended') failures += 1;
        on.restarted(heard.why);
      } catch (error) {
        if (signal.aborted) return;
        const fault = asClusterError(error);
        failures += 1;
        if (fault.reason === 'gone') version = null;
        else on.fault(fault);
        on.restarted(reasonOf(fault));
      }
      if (failures >= attempts) version = null;
      if (failures > 0) await this.#wait(failures);
    }
  }

  /** Gives the version from which the watch goes on. Each page is let go before the next one. */
  async #list(): Promise<string> {
    const { requests, cache, monotonic, on } = this.#parts;
    const names = new Set<string>();
    for (let next = ''; ; ) {
      const page: z.infer<typeof list> = list.parse(
        await requests.json({
          verb: 'list',
          resource: 'nodes',
          name: '',
          path: '/api/v1/nodes',
          query: { limit: perPage, ...(next !== '' && { continue: next }) },
          lane: 'reads',
        }),
      );
      for (const item of page.items ?? []) {
        const name = this.#take(item);
        if (name !== null) names.add(name);
      }
      next = page.metadata.continue ?? '';
      if (next !== '') continue;
      cache.keepOnly(names);
      this.#heardAt = monotonic();
      on.fault(null);
      return page.metadata.resourceVersion;
    }
  }

  async #watch(from: string): Promise<{ version: string; why: WatchRestartReason; isAlive: boolean }> {
    const { requests, on, monotonic } = this.#parts;
    const { watchFor, silentFor } = this.#timings;
    const silent = new AbortController();
    const hush = () => silent.abort(new Error('nothing came'));
    const stream = await requests.stream(
      {
        verb: 'watch',
        resource: 'nodes',
        name: '',
        path: '/api/v1/nodes',
        query: {
          watch: 'true',
          resourceVersion: from,
          allowWatchBookmarks: 'true',
          timeoutSeconds: String(Math.ceil(watchFor / 1000)),
        },
        lane: 'reads',
      },
      AbortSignal.any([this.#ended.signal, silent.signal]),
    );
    on.fault(null);
    this.#heardAt = monotonic();
    let version = from;
    let isAlive = false;
    let timer = setTimeout(hush, silentFor);
    try {
      for await (const line of linesOf(stream)) {
        clearTimeout(timer);
        version = this.#hear(line) ?? version;
        isAlive = true;
        this.#heardAt = monotonic();
        timer = setTimeout(hush, silentFor);
      }
      return { version, why: 'ended', isAlive };
    } catch (error) {
      if (error instanceof ClusterError) throw error;
      // A connection that breaks is one that ended: what was heard counts.
      return { version, why: silent.signal.aborted ? 'silent' : whyBroken(error), isAlive };
    } finally {
      clearTimeout(timer);
      stream.destroy();
    }
  }

  /** Gives the version up to which everything was reported, including Nodes that are read later. @throws ClusterError */
  #hear(line: string): string | null {
    const head = eventHead(line);
    if (head === null || head.type === 'DELETED') return this.#heard(JSON.parse(line));
    if (!this.#reading.mayRead(head.name, line.length)) return head.resourceVersion;
    this.#reading.forget(head.name);
    return this.#heard(JSON.parse(line));
  }

  /** A Node that was written more than it may be, as it is by now. */
  async #read(name: string): Promise<void> {
    const path = `/api/v1/nodes/${encodeURIComponent(name)}`;
    const request = { verb: 'get', resource: 'nodes', name, path, lane: 'reads' } as const;
    // That it is gone the watch tells.
    const found = await orNull(this.#parts.requests.json(request));
    if (found !== null && this.#reading.isWaiting(name) && !this.#ended.signal.aborted) this.#take(found);
  }

  #heard(said: unknown): string | null {
    const { type, object } = event.parse(said);
    if (type === 'ERROR') {
      const { code, message } = coded.safeParse(object).data ?? {};
      if (code === 410) throw new ClusterError('gone', 'watch nodes: the API forgot what it told');
      throw new ClusterError(
        'failed',
        `watch nodes: the API says ${message?.slice(0, 200) ?? 'that it failed'}`,
      );
    }
    if (type === 'DELETED') {
      const { name } = named.parse(object).metadata;
      this.#reading.forget(name);
      this.#parts.cache.remove(name);
    } else if (type !== 'BOOKMARK') this.#take(object);
    return versioned.parse(object).metadata.resourceVersion;
  }

  #take(object: unknown): string | null {
    try {
      const node = parseNode(object);
      this.#parts.cache.set(node);
      return node.name;
    } catch (error) {
      this.#parts.on.unreadable(error);
      // Still there, as it was last read.
      return named.safeParse(object).data?.metadata.name ?? null;
    }
  }

  async #wait(failures: number): Promise<void> {
    const { backOffFrom, backOffTo } = this.#timings;
    const most = Math.min(backOffTo, backOffFrom * 2 ** Math.min(failures - 1, 16));
    const time = most * (0.5 + Math.random() / 2);
    await sleep(time, undefined, { signal: this.#ended.signal }).catch(() => undefined);
  }
}

function reasonOf({ reason }: ClusterError): WatchRestartReason {
  return reason === 'unreachable' || reason === 'forbidden' || reason === 'gone' ? reason : 'failed';
}

function whyBroken(error: unknown): WatchRestartReason {
  return error instanceof SyntaxError || error instanceof z.ZodError ? 'failed' : 'unreachable';
}

/** An answer that is no list, or no JSON. */
function asClusterError(error: unknown): ClusterError {
  if (error instanceof ClusterError) return error;
  return new ClusterError(
    'failed',
    'watch nodes: the API of the cluster answers what is no list of Nodes',
    null,
    error,
  );
}
