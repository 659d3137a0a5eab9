import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { afterEach, describe, it } from 'mocha';
import { z } from 'zod';
import { type ServerSettings, startTestServer, type TestServer } from '../running-server.ts';
import { openMadeStore } from '../store/made-store.ts';
import { EventListener } from './listener.ts';

const made = z.object({ token: z.string() });
const text = 'x'.repeat(250);
const detail = { a: text, b: text, c: text, d: text };
const events = 12_000;

describe('a listener to events', () => {
  let world: TestServer;
  const opened: Disposable[] = [];
  afterEach(async () => {
    for (const each of opened.splice(0)) each[Symbol.dispose]();
    await world?.[Symbol.asyncDispose]();
  });

  const start = async (settings: ServerSettings) => {
    world = await startTestServer(settings);
  };
  const newToken = async (name: string, ttlSeconds: number | null = null) =>
    made.parse(await world.call('POST', '/v1/tokens', { name, role: 'reader', ttlSeconds })).token;
  const listen = (token: string, query = '', headers = {}) => {
    const at = { port: world.server.apiPort, ca: world.ca, token };
    const listener = new EventListener(at, `/v1/events${query}`, headers);
    opened.push(listener);
    return listener;
  };
  const numbers = (listener: EventListener) =>
    listener.blocks.map((block) => Number(block.get('id')?.split('_')[1]));
  const streams = () => world.metric('assay_event_streams');

  it('that never reads costs little memory, is dropped, and goes on behind its last id; others hear all (row 449)', async () => {
    await start({
      streamTimings: { commentEvery: 15_000, drainedWithin: 1000 },
      async prepare(stateDir) {
        await using store = await openMadeStore(join(stateDir, 'assay.db'));
        const entry = { actor: 'server', action: 'exempt', subject: 'node-1', code: null, detail } as const;
        for (let at = 1; at <= events; at += 1) await store.audit.append({ ...entry, at });
      },
    });
    const token = await newToken('page');
    const before = process.memoryUsage().rss;
    const slow = Array.from({ length: 20 }, () => listen(token, '?after=0'));
    for (const each of slow) each.pause();
    const other = listen(token, '?after=0&event=exempt');
    let most = 0;
    await world.until(() => {
      most = Math.max(most, process.memoryUsage().rss - before);
      return other.blocks.length >= events;
    });
    // All that they are told would be 300 MiB.
    assert(most < 150 * 1024 * 1024, `${most}`);
    const dropped = () => world.metric('assay_event_streams_ended_total{reason="slow"}');
    await world.until(async () => (await dropped()) === slow.length);
    assert.equal(await streams(), 1);

    const [first = assert.fail()] = slow;
    first.resume();
    await world.until(() => first.isOver);
    const last = first.lastId ?? assert.fail();
    const rest = listen(token, '?follow=false', { 'last-event-id': last });
    await world.until(() => rest.isOver);
    assert(first.blocks.length > 0 && rest.blocks.length > 0);
    assert.deepEqual([...numbers(first), ...numbers(rest)], numbers(other).slice(0, events));
  });

  it('is one of 200, of which no token has more than others want, while 10,000 are asked for and others are answered (row 451)', async () => {
    await start({});
    const agent = new Agent({ keepAlive: true, maxSockets: 400 });
    opened.push({ [Symbol.dispose]: () => agent.destroy() });
    const ask = async (path: string, token: string) => {
      const call = request({
        host: '127.0.0.1',
        port: world.server.apiPort,
        ca: world.ca,
        agent,
        path,
        headers: { authorization: `Bearer ${token}` },
      }).end();
      call.on('error', () => {});
      const [answer] = (await once(call, 'response')) as [IncomingMessage];
      answer.on('error', () => {});
      answer.resume();
      return answer;
    };
    const open = new Map<string, number>();
    let refused = 0;
    for (let of = 0; of < 10; of += 1) {
      const name = `listener-${of}`;
      const token = await newToken(name);
      for (let batch = 0; batch < 50; batch += 1) {
        const come = Array.from({ length: 20 }, async () => {
          const answer = await ask('/v1/events', token);
          const { statusCode = 0 } = answer;
          if (statusCode !== 200) {
            refused += statusCode === 429 ? 1 : Number.NaN;
            return;
          }
          open.set(name, (open.get(name) ?? 0) + 1);
          answer.on('close', () => open.set(name, (open.get(name) ?? 0) - 1));
        });
        const begun = performance.now();
        const { statusCode } = await ask('/v1/nodes', token);
        assert.equal(statusCode, 200);
        assert(performance.now() - begun < 2000);
        await Promise.all(come);
      }
      assert((await streams()) <= 200);
    }
    await world.until(() => [...open.values()].reduce((all, each) => all + each) === 200);
    assert.equal(await streams(), 200);
    assert(refused > 9000, `${refused}`);
    for (const [name, held] of open) assert(held >= 19 && held <= 21, `${name}: ${held}`);
  });

  it('hears no longer once its token expires, or its file holds another one (row 452)', async () => {
    await start({ streamTimings: { commentEvery: 50, drainedWithin: 30_000 } });
    const expiring = listen(await newToken('page', 1));
    const kept = listen(await newToken('other'));
    const tokenFile = join(world.stateDir, 'admin.token');
    const replaced = listen((await readFile(tokenFile, 'utf8')).trim());
    await world.until(() => [expiring, kept, replaced].every(({ comments }) => comments > 0));
    await world.until(() => expiring.isOver);
    assert.deepEqual([expiring.status, kept.isOver, replaced.isOver], [200, false, false]);
    await writeFile(tokenFile, randomBytes(32).toString('base64url'));
    await world.server.reload();
    await world.until(() => replaced.isOver);
    assert.deepEqual([replaced.status, kept.isOver], [200, false]);
    assert.equal(await world.metric('assay_event_streams_ended_total{reason="token"}'), 2);
  });
});
