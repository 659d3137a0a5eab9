import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { z } from 'zod';
import { enrolledNode } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { readDescription } from './api-description.ts';
import { EventListener } from './listener.ts';

const made = z.object({ token: z.string() });

describe('a stream of events', () => {
  let world: TestServer;
  const opened: EventListener[] = [];

  beforeEach(async () => {
    world = await startTestServer();
  });
  afterEach(async () => {
    for (const each of opened.splice(0)) each[Symbol.dispose]();
    await world?.[Symbol.asyncDispose]();
  });

  const adminToken = async () => (await readFile(join(world.stateDir, 'admin.token'), 'utf8')).trim();
  const listen = async (query = '', { token = '', headers = {} } = {}): Promise<EventListener> => {
    const at = { port: world.server.apiPort, ca: world.ca, token: token || (await adminToken()) };
    const listener = new EventListener(at, `/v1/events${query}`, headers);
    opened.push(listener);
    await world.until(() => listener.status !== 0 && (listener.status !== 200 || listener.comments > 0));
    return listener;
  };
  const told = (listener: EventListener) =>
    listener.messages.map(({ event, node, state }) => [event, node, state].join(' '));
  const revoke = (node: string) => world.call('POST', `/v1/enrolments/${node}/revoke`, { reason: 'sold' });

  it('tells what is committed, under ids from which a listener goes on after a restart', async () => {
    const first = await listen();
    assert.deepEqual(
      [first.status, first.headers['content-type'], first.headers['cache-control']],
      [200, 'text/event-stream', 'no-store'],
    );
    await enrolledNode(world, forgedTpm(), 'node-1');
    await world.until(() => first.messages.length === 1);
    assert.deepEqual(told(first), ['node.state node-1 pending']);
    const [block = assert.fail()] = first.blocks;
    assert.deepEqual([block.get('id'), block.get('event')], [first.messages[0]?.id, 'node.state']);
    assert.equal(await world.metric('assay_event_streams'), 1);

    await world.restart();
    await world.until(() => first.isOver);
    await revoke('node-1');
    const second = await listen('', { headers: { 'last-event-id': first.lastId ?? '' } });
    await world.until(() => second.messages.length === 1);
    assert.deepEqual(told(second), ['node.revoked node-1 ']);
    const all = await listen('?after=0&follow=false');
    await world.until(() => all.isOver);
    assert.deepEqual(told(all), ['node.state node-1 pending', 'node.revoked node-1 ']);
    const chosen = await listen('?after=0&follow=false&event=node.revoked,exempt&node=node-1');
    await world.until(() => chosen.isOver);
    assert.deepEqual(told(chosen), ['node.revoked node-1 ']);
  });

  it('ends with its token, which opens none any more; another one of its name hears all of it (row 452)', async () => {
    const { token } = made.parse(await world.call('POST', '/v1/tokens', { name: 'page', role: 'reader' }));
    const listener = await listen('', { token });
    const other = await listen();
    await enrolledNode(world, forgedTpm(), 'node-1');
    await world.until(() => listener.messages.length === 1);
    await world.call('DELETE', '/v1/tokens/page');
    await revoke('node-1');
    await world.until(() => listener.isOver && other.messages.length === 2);
    assert.deepEqual(told(listener), ['node.state node-1 pending']);
    assert.equal(await world.metric('assay_event_streams_ended_total{reason="token"}'), 1);
    assert.equal((await listen('', { token })).status, 401);

    const next = made.parse(await world.call('POST', '/v1/tokens', { name: 'page', role: 'reader' }));
    const again = await listen('?after=0&follow=false', { token: next.token });
    await world.until(() => again.isOver);
    assert.deepEqual(told(again), ['node.state node-1 pending', 'node.revoked node-1 ']);
  });

  it('is read by a client that is made of /openapi.json alone', async () => {
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, 'node-1');
    await revoke('node-1');
    const api = readDescription(JSON.parse((await world.ask('GET', '/openapi.json', null)).text));
    const operation =
      api.operations.find(({ operationId }) => operationId === 'streamEvents') ?? assert.fail();
    const [[type = '', { schema } = assert.fail()] = assert.fail()] = Object.entries(
      api.responseOf(operation.responses[200] ?? assert.fail())?.content ?? {},
    );
    const at = { port: world.server.apiPort, ca: world.ca, token: await adminToken() };
    const read = async (values: Readonly<Record<string, string>>) => {
      const { path, headers } = api.requestOf(operation, values);
      const listener = new EventListener(at, path, headers);
      opened.push(listener);
      await world.until(() => listener.isOver);
      assert.deepEqual([listener.status, listener.headers['content-type']], [200, type]);
      return listener.blocks.map((block) => ({
        id: block.get('id') ?? '',
        ...z
          .object({ event: z.string(), node: z.string() })
          .parse(api.schemaOf(schema).parse(JSON.parse(block.get('data') ?? ''))),
      }));
    };
    const all = await read({ after: '0', follow: 'false' });
    assert.deepEqual(
      all.map(({ event, node }) => `${event} ${node}`),
      ['node.state node-1', 'node.revoked node-1'],
    );
    const [{ id } = assert.fail(), ...rest] = all;
    assert.deepEqual(await read({ 'Last-Event-ID': id, follow: 'false' }), rest);
    assert.deepEqual(await read({ after: '0', follow: 'false', event: 'node.revoked' }), rest);
  });

  it('is refused where the log has no such event, and where a parameter is wrong', async () => {
    for (const [query, status, says] of [
      ['?after=evt_1_0000000000000000', 409, /no event/],
      ['?after=1000000', 409, /no event/],
      ['?event=node.stat', 400, /node\.state/],
      ['?node=..', 400, /query\.node/],
      ['?follow=no', 400, /query\.follow/],
    ] as const) {
      const listener = await listen(query);
      await world.until(() => listener.isOver);
      assert.equal(listener.status, status);
      assert.match(listener.text, says);
    }
    const { status } = await world.ask('HEAD', '/v1/events', await adminToken());
    assert.equal(status, 200);
  });
});
