import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { entryReader, smallPage } from '../../../attest-server/audit/reader.ts';
import { openEvents, type PublishedEvents } from '../../../attest-server/events/open.ts';
import { EventStreams, type StreamTimings } from '../../../attest-server/http/event-streams.ts';
import type { ListenRequest } from '../../../attest-server/http/ports.ts';
import { HttpProblem } from '../../../attest-server/http/problem.ts';
import { groupOf } from '../../../attest-server/policy/policy.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import { ToldStore, until } from '../webhook/told-store.ts';

type Listening = Partial<Omit<ListenRequest, 'caller'>> & { by?: string; expiresAt?: number | null };

/** Real streams over a real store and real connections. */
class Streams implements AsyncDisposable {
  readonly store = new ToldStore();
  readonly ended: string[] = [];
  readonly faults: unknown[] = [];
  tokens: 'count' | 'revoked' | 'unknown' = 'count';
  now = 0;
  reads = 0;
  readonly #sockets: Socket[] = [];
  readonly #answers: ((response: ServerResponse) => void)[] = [];
  readonly #server = createServer((_, response) => this.#answers.shift()?.(response));
  #events: PublishedEvents | null = null;
  #streams: EventStreams | null = null;

  async open(timings: StreamTimings = { commentEvery: 3_600_000, drainedWithin: 60_000 }): Promise<void> {
    await this.store.open(null);
    const { store } = this.store;
    const log = entryReader(store.audit, smallPage);
    const events = openEvents({
      store: store.events,
      log: {
        ...log,
        next: (after) => {
          this.reads += 1;
          return log.next(after);
        },
      },
      clusterUid: null,
      monotonic: () => performance.now(),
      fault: (error) => this.faults.push(error),
    });
    this.#events = events;
    this.#streams = new EventStreams(
      {
        feed: events.feed,
        tokens: {
          authenticate: () => {
            if (this.tokens === 'unknown') throw new HttpProblem(503, 'the cluster does not answer');
            return this.tokens === 'revoked' ? null : { name: 'token:a', role: 'reader', expiresAt: null };
          },
        },
        groupOf: (node) => groupOf({ groups: observePolicy.groups }, node),
        now: () => this.now,
        ended: (why) => this.ended.push(why),
        fault: (error) => this.faults.push(error),
      },
      timings,
    );
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  get streams(): EventStreams {
    return this.#streams ?? assert.fail('open it first');
  }

  request({ by = 'token:a', expiresAt = null, ...rest }: Listening): ListenRequest {
    const caller = { name: by, role: 'reader', expiresAt } as const;
    return { caller, authorization: '', address: '', after: null, filter: {}, isLive: true, ...rest };
  }

  /** @returns the text that a listener got; `pause()` it to have it take nothing */
  async listen(change: Listening = {}) {
    const write = await this.streams.open(this.request(change));
    this.#answers.push(write);
    const address = this.#server.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    const socket = connect(port, '127.0.0.1');
    this.#sockets.push(socket);
    const got = {
      text: '',
      isOver: false,
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      leave: () => socket.destroy(),
    };
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      got.text += text;
    });
    socket.on('close', () => {
      got.isOver = true;
    });
    socket.on('error', () => {});
    socket.write('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n');
    await until(() => got.text.includes(': listening'));
    return got;
  }

  pause(by: string): Promise<void> {
    return this.store.log('cluster.pause', 'cluster', { actor: by });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#streams?.[Symbol.dispose]();
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await this.#events?.[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
  }
}

const by = (text: string) => [...text.matchAll(/"by":"(\w+)"/g)].map(([, name]) => name);
const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, at) => `n${from + at}`);

describe('listeners to events', () => {
  let world: Streams;
  beforeEach(() => {
    world = new Streams();
  });
  afterEach(async () => {
    await world[Symbol.asyncDispose]();
    assert.deepEqual(world.faults, []);
  });

  it('get each event once and in order, whenever they come, while others are written', async () => {
    await world.open();
    for (const name of numbers(700)) await world.pause(name);
    const writing = (async () => {
      for (const name of numbers(700, 700)) await world.pause(name);
    })();
    const early = await Promise.all(numbers(5).map(() => world.listen({ after: '0' })));
    await writing;
    const late = await world.listen({ after: '1000' });
    await world.pause('last');
    const all = [...numbers(1400), 'last'];
    for (const got of early) await until(() => by(got.text).length === all.length);
    for (const got of early) assert.deepEqual(by(got.text), all);
    await until(() => by(late.text).length === 401);
    assert.deepEqual(by(late.text), all.slice(1000));
  });

  it('cost one reading of the log, however many they are', async () => {
    await world.open();
    const all = await Promise.all(numbers(20).map(() => world.listen()));
    await until(() => world.reads >= 20);
    await until(async () => {
      const before = world.reads;
      await new Promise((resolve) => setTimeout(resolve, 20));
      return before === world.reads;
    });
    const before = world.reads;
    await world.pause('a');
    for (const got of all) await until(() => by(got.text).length === 1);
    assert(world.reads - before <= 2, `${world.reads - before}`);
  });

  it('cost nothing when they are gone', async () => {
    await world.open();
    const got = await world.listen();
    got.leave();
    await until(() => world.streams.size === 0);
    const before = world.reads;
    await world.pause('a');
    assert.deepEqual([world.reads, world.ended], [before, ['left']]);
  });

  it('are told how far the log is, though nothing was for them', async () => {
    await world.open({ commentEvery: 20, drainedWithin: 60_000 });
    const got = await world.listen({ filter: { event: ['exempt'] } });
    await world.pause('a');
    const [last] = (await world.store.store.audit.entries({ limit: 10 })).slice(-1);
    const id = `evt_${last?.seq}_${last?.hash.slice(0, 16)}`;
    await until(() => got.text.includes(`\nid: ${id}\n`));
    assert.deepEqual(by(got.text), []);
    await world.pause('b');
    const next = await world.listen({ after: id });
    await until(() => by(next.text).length === 1);
    assert.deepEqual(by(next.text), ['b']);
  });

  it('choose by node, by the group of the node and by the group that an event is about', async () => {
    await world.open();
    const { name: group = '' } = observePolicy.groups[0] ?? {};
    const filters = [
      { node: 'node-1' },
      { group },
      { group: 'other' },
      { group, event: ['exempt'] as const },
    ];
    const got = await Promise.all(filters.map((filter) => world.listen({ filter })));
    await world.store.log('exempt', 'node-1', { actor: 'one' });
    await world.store.log('exempt', 'node-2', { actor: 'two' });
    await world.store.log('breaker.open', group, { actor: 'three' });
    await world.store.log('breaker.open', 'other', { actor: 'four' });
    await world.pause('five');
    const wanted = [['one'], ['one', 'two', 'three'], ['four'], ['one', 'two']];
    for (const [at, names] of wanted.entries()) {
      await until(() => by(got[at]?.text ?? '').length >= names.length);
      assert.deepEqual(by(got[at]?.text ?? ''), names);
    }
  });

  it('that take nothing for a while go on where they were, and hold no more than a buffer meanwhile', async () => {
    await world.open();
    const other = await world.listen();
    const slow = await world.listen();
    slow.pause();
    const text = 'x'.repeat(250);
    const detail = { a: text, b: text, c: text, d: text };
    for (const name of numbers(6000)) await world.store.log('exempt', 'node-1', { actor: name, detail });
    await until(() => by(other.text).length === 6000);
    assert(by(slow.text).length < 6000);
    slow.resume();
    await until(() => by(slow.text).length === 6000);
    assert.deepEqual(by(slow.text), numbers(6000));
    assert.deepEqual([by(other.text), world.ended], [numbers(6000), []]);
  });

  it('that catch up take the log as fast as they read, and hold no more of it', async () => {
    await world.open();
    const text = 'x'.repeat(200);
    for (const name of numbers(3000))
      await world.store.log('exempt', 'node-1', { actor: name, detail: { a: text, b: text, c: text } });
    const slow = await world.listen({ after: '0' });
    slow.pause();
    const before = world.reads;
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert(world.reads - before < 30, `${world.reads - before}`);
    slow.resume();
    await until(() => by(slow.text).length === 3000);
    assert.deepEqual(world.ended, []);
  });

  it('end when nothing is taken for long', async () => {
    await world.open({ commentEvery: 3_600_000, drainedWithin: 30 });
    const slow = await world.listen();
    slow.pause();
    const text = 'x'.repeat(250);
    const detail = { a: text, b: text, c: text, d: text };
    for (const name of numbers(6000)) await world.store.log('exempt', 'node-1', { actor: name, detail });
    await until(() => world.ended.length > 0);
    assert.deepEqual(world.ended, ['slow']);
  });

  it('have 200 places, of which nobody keeps more than others want', async () => {
    await world.open();
    for (let at = 0; at < 200; at += 1) await world.listen({ by: 'token:many' });
    await assert.rejects(world.listen({ by: 'token:many' }), { status: 429 });
    // Nobody gives a place to who then does not come, as HEAD does.
    await world.streams.open(world.request({ by: 'token:few' }));
    assert.deepEqual([world.streams.size, world.ended], [200, []]);
    for (let at = 0; at < 100; at += 1) await world.listen({ by: 'token:few' });
    assert.equal(world.streams.size, 200);
    assert.deepEqual(new Set(world.ended), new Set(['place']));
    for (const name of ['token:few', 'token:many'])
      await assert.rejects(world.listen({ by: name }), { status: 429 });
  });

  it('end when their token is over, taken back, or nobody can say whose it is', async () => {
    await world.open({ commentEvery: 20, drainedWithin: 60_000 });
    world.now = 1000;
    const [over, taken, kept] = await Promise.all([
      world.listen({ expiresAt: 2000 }),
      world.listen({ by: 'token:b' }),
      world.listen(),
    ]);
    await until(() => taken.isOver);
    assert.deepEqual([over.isOver, kept.isOver], [false, false]);
    world.now = 2000;
    await world.pause('late');
    await until(() => over.isOver && by(kept.text).length === 1);
    assert.deepEqual([by(over.text), by(taken.text)], [[], []]);
    world.tokens = 'unknown';
    await until(() => kept.isOver);
    world.tokens = 'count';
    const last = await world.listen();
    world.tokens = 'revoked';
    await until(() => last.isOver);
    assert.deepEqual(world.ended, ['token', 'token', 'token', 'token']);
  });
});
