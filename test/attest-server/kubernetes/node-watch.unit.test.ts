import assert from 'node:assert/strict';
import { PassThrough, type Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { NodeCache } from '../../../attest-server/kubernetes/node-cache.ts';
import { NodeWatch, type NodeWatchParts } from '../../../attest-server/kubernetes/node-watch.ts';
import type { ClusterRequest } from '../../../attest-server/kubernetes/requests.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';

const nodeOf = (name: string, version: string, more: object = {}) => ({
  metadata: { name, uid: name, resourceVersion: version, creationTimestamp: '2026-11-20T12:00:00Z' },
  ...more,
});
const listOf = (version: string, ...items: readonly unknown[]) => ({
  metadata: { resourceVersion: version },
  items,
});

/** A watch beside an API that says whatever a test lets it say. */
class Said implements AsyncDisposable {
  readonly cache = new NodeCache();
  readonly restarts: string[] = [];
  readonly faults: (string | null)[] = [];
  unreadable = 0;
  /** Milliseconds by which its clock is ahead. */
  ahead = 0;
  readonly asked: ClusterRequest[] = [];
  readonly streams: PassThrough[] = [];
  lists: (request: ClusterRequest) => unknown;
  watches: () => Readable = () => {
    const stream = new PassThrough();
    this.streams.push(stream);
    return stream;
  };
  readonly watch: NodeWatch;

  constructor(
    lists: (request: ClusterRequest) => unknown = () => listOf('1', nodeOf('n1', '1')),
    timings: NonNullable<NodeWatchParts['timings']> = {},
  ) {
    this.lists = lists;
    this.watch = new NodeWatch({
      requests: {
        json: async (request: ClusterRequest): Promise<never> => {
          this.asked.push(request);
          return this.lists(request) as never;
        },
        stream: async (request, signal) => {
          this.asked.push(request);
          const stream = this.watches();
          signal.addEventListener('abort', () => stream.destroy(new Error('aborted')));
          return stream;
        },
      },
      cache: this.cache,
      monotonic: () => performance.now() + this.ahead,
      timings: { backOffFrom: 5, backOffTo: 20, ...timings },
      on: {
        restarted: (reason) => void this.restarts.push(reason),
        fault: (fault) => void this.faults.push(fault?.reason ?? null),
        unreadable: () => {
          this.unreadable += 1;
        },
      },
    });
  }

  say(event: unknown): void {
    this.streams.at(-1)?.write(typeof event === 'string' ? event : `${JSON.stringify(event)}\n`);
  }
  names(): string {
    return [...this.cache.all()].map(({ name }) => name).join();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.watch[Symbol.asyncDispose]();
  }
}

describe('a watch of Nodes beside an API that lies', () => {
  it('takes for a failure what is no list, and reads the one that comes at last', async () => {
    const nonsense: unknown[] = ['<html>', { items: 7 }, null, 7];
    await using said = new Said(() =>
      nonsense.length > 0 ? nonsense.shift() : listOf('9', nodeOf('n9', '9')),
    );
    await until(() => said.names() === 'n9');
    assert.deepEqual(said.restarts, ['failed', 'failed', 'failed', 'failed']);
    assert.ok(said.faults.includes('failed'));
    assert.deepEqual([said.watch.synced, said.faults.at(-1)], [true, null]);
  });

  it('leaves a Node as it was where the API shows it in a form that is none', async () => {
    await using said = new Said();
    await until(() => said.streams.length === 1);
    said.say({ type: 'MODIFIED', object: nodeOf('n1', '2', { spec: { taints: 'all' } }) });
    said.say({ type: 'ADDED', object: nodeOf('n2', '3') });
    await until(() => said.names() === 'n1,n2');
    assert.deepEqual([said.unreadable, said.cache.get('n1')?.resourceVersion], [1, '1']);
    // It is not taken for gone by a list, either.
    said.lists = () => listOf('4', nodeOf('n1', '4', { spec: 'none' }), nodeOf('n2', '3'));
    said.say({ type: 'ERROR', object: { code: 410 } });
    await until(() => said.streams.length === 2);
    assert.deepEqual([said.names(), said.restarts], ['n1,n2', ['gone']]);
  });

  it('goes on from the last event that it understood, and lists all where it understands no more', async () => {
    await using said = new Said();
    await until(() => said.streams.length === 1);
    said.say({ type: 'ADDED', object: nodeOf('n2', '7') });
    said.say('{"type":"ADDED","object":\n');
    await until(() => said.streams.length === 2);
    assert.equal(said.asked.at(-1)?.query?.resourceVersion, '7');
    for (let round = 2; said.asked.filter(({ verb }) => verb === 'list').length < 2; round++) {
      await until(() => said.streams.length >= round);
      said.say('nonsense\n');
      await until(() => said.streams.length > round || said.asked.at(-1)?.verb === 'list');
    }
    assert.ok(said.streams.length <= 5);
    assert.ok(said.restarts.every((reason) => reason === 'failed'));
  });

  it('begins again where nothing comes, not even a bookmark, and where the API says that it failed', async () => {
    await using said = new Said(undefined, { silentFor: 40 });
    await until(() => said.streams.length === 1);
    const beats = setInterval(() => said.say({ type: 'BOOKMARK', object: nodeOf('', '5') }), 10);
    await sleep(120);
    assert.deepEqual(said.restarts, []);
    clearInterval(beats);
    await until(() => said.streams.length === 2);
    assert.equal(said.asked.at(-1)?.query?.resourceVersion, '5');
    said.say({ type: 'ERROR', object: { code: 500, message: 'etcd is away' } });
    await until(() => said.streams.length >= 3);
    assert.deepEqual(said.restarts.slice(0, 2), ['silent', 'failed']);
  });

  it('reads 5,000 Nodes page by page, and holds a tenth of what each is', async () => {
    const images = Array.from({ length: 50 }, (_, index) => ({
      names: [`registry.example/team/service-${index}@sha256:${'0'.repeat(64)}`],
      sizeBytes: index,
    }));
    const status = { conditions: [{ type: 'Ready', status: 'True', message: 'kubelet is ready' }], images };
    const all = Array.from({ length: 5_000 }, (_, index) => nodeOf(`n${index}`, `${index}`, { status }));
    const pages: number[] = [];
    await using said = new Said(({ query }) => {
      const from = Number(query?.continue ?? 0);
      const to = from + Number(query?.limit);
      pages.push(to - from);
      const more = to < all.length ? { continue: String(to) } : {};
      // As it comes from the network: new objects each time.
      return JSON.parse(
        JSON.stringify({ metadata: { resourceVersion: '9', ...more }, items: all.slice(from, to) }),
      );
    });
    await until(() => said.watch.synced);
    const held = [...said.cache.all()];
    assert.deepEqual([held.length, pages.every((size) => size === 100)], [5_000, true]);
    assert.ok(JSON.stringify(held).length < JSON.stringify(all).length / 10);
    // A relist of what is known tells nobody anything.
    let told = 0;
    said.cache.onChange(() => {
      told += 1;
    });
    said.say({ type: 'ERROR', object: { code: 410 } });
    await until(() => said.streams.length === 2);
    assert.equal(told, 0);
  });

  it('reads a Node that is long and written without end in its turn, and all others at once (row 359)', async () => {
    const status = {
      conditions: Array.from({ length: 35_000 }, (_, i) => ({ type: `c${i}`, status: 'True' })),
    };
    await using said = new Said();
    await until(() => said.streams.length === 1);
    const told = new Map<string, number>();
    said.cache.onChange((name) => told.set(name, (told.get(name) ?? 0) + 1));
    said.lists = ({ name }) => ({ kind: 'Node', ...nodeOf(name, `now-${name}`, { status }) });
    // The last one is light: all are heard by then, and none takes what a later time gives.
    for (let version = 10; version <= 110; version++) {
      const isLight = version % 10 === 0;
      const more = isLight ? {} : { status };
      said.say({
        type: 'MODIFIED',
        object: { kind: 'Node', ...nodeOf(isLight ? 'n2' : 'n1', `${version}`, more) },
      });
      if (isLight) await until(() => said.cache.get('n2')?.resourceVersion === `${version}`);
    }
    assert.equal(told.get('n2'), 11);
    assert.ok((told.get('n1') ?? 0) <= 5, `${told.get('n1')} times of 90`);
    // What it is by now is known soon, from one more answer.
    const asked = () => said.asked.filter(({ verb }) => verb === 'get').map(({ path }) => path);
    assert.deepEqual(asked(), []);
    said.ahead += 60_000;
    await until(() => said.cache.get('n1')?.resourceVersion === 'now-n1');
    assert.deepEqual(asked(), ['/api/v1/nodes/n1']);
    // A watch that ends goes on behind what was read later.
    said.say({ type: 'MODIFIED', object: { kind: 'Node', ...nodeOf('n1', '200', { status }) } });
    said.say({ type: 'MODIFIED', object: { kind: 'Node', ...nodeOf('n1', '201', { status }) } });
    said.streams.at(-1)?.end();
    await until(() => said.streams.length === 2);
    assert.equal(said.asked.at(-1)?.query?.resourceVersion, '201');
  });

  it('does not bring a Node back that went while it waited, and asks again where an answer failed', async () => {
    const annotations = { a: 'x'.repeat(1_900_000) };
    const long = (name: string, version: string) => {
      const { metadata } = nodeOf(name, version);
      return { kind: 'Node', metadata: { ...metadata, annotations } };
    };
    await using said = new Said(() => listOf('1', nodeOf('n1', '1'), nodeOf('n2', '1')));
    await until(() => said.streams.length === 1);
    let answers = 0;
    let answer = (_: unknown) => {};
    said.lists = ({ name }) => {
      answers += 1;
      if (answers === 1) throw new ClusterError('unreachable', 'it does not answer');
      return new Promise((resolve) => {
        answer = () => resolve(nodeOf(name, 'late'));
      });
    };
    for (let version = 2; version < 6; version++)
      said.say({ type: 'MODIFIED', object: long('n1', `${version}`) });
    await until(() => said.cache.get('n1')?.resourceVersion === '3');
    said.ahead += 60_000;
    await until(() => answers === 1);
    said.ahead += 60_000;
    await until(() => answers === 2);
    said.say({ type: 'DELETED', object: nodeOf('n1', '9') });
    await until(() => said.names() === 'n2');
    answer(null);
    await sleep(20);
    assert.equal(said.names(), 'n2');
  });

  it('is not lost where a list is forgotten between two of its pages', async () => {
    let pages = 0;
    await using said = new Said(({ query }) => {
      pages += 1;
      if (pages === 2) throw new ClusterError('gone', 'the continue token is too old');
      return query?.continue === undefined
        ? { ...listOf('3', nodeOf('n1', '1')), metadata: { resourceVersion: '3', continue: 'more' } }
        : listOf('3', nodeOf('n2', '2'));
    });
    await until(() => said.watch.synced);
    assert.deepEqual([said.names(), said.restarts, pages], ['n1,n2', ['gone'], 4]);
  });
});

async function until(is: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!is()) {
    if (performance.now() > end) assert.fail(`never came: ${is}`);
    await sleep(2);
  }
}
