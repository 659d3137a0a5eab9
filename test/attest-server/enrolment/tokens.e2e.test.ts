import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { after, before, describe, it } from 'mocha';
import { tokenAnswer, tokenView } from '../../../attest-server/api/api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { allows } from '../../../attest-server/http/roles.ts';
import { routes } from '../../../attest-server/http/routes.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

let world: TestServer;

async function create(name: string, role: string, ttlSeconds: number | null = null): Promise<string> {
  return tokenAnswer.parse(await world.call('POST', '/v1/tokens', { name, role, ttlSeconds })).token;
}

describe('tokens of people and programs, over a real connection', () => {
  before(async () => {
    world = await startTestServer({ policy: 'observe' });
  });
  after(() => world?.[Symbol.asyncDispose]());

  it('refuses every route without credentials, with a made-up, expired or revoked token, and to a lower role (row 80)', async () => {
    const [expired, revoked] = [await create('late', 'admin', 1), await create('gone', 'admin')];
    assert.equal((await world.ask('GET', '/v1/nodes', revoked)).status, 200);
    await world.ask(
      'DELETE',
      '/v1/tokens/gone',
      (await readFile(join(world.stateDir, 'admin.token'), 'utf8')).trim(),
    );
    await sleep(1_050);
    const [id = '', secret = ''] = (await create('true', 'admin')).split('.').slice(1);
    const refused = {
      none: null,
      empty: '',
      unknown: `assay.${'A'.repeat(12)}.${secret}`,
      'another secret': `assay.${id}.${'A'.repeat(43)}`,
      'no secret': `assay.${id}.`,
      cut: `assay.${id}.${secret.slice(1)}`,
      longer: `assay.${id}.${secret}x`,
      expired,
      revoked,
    };
    const lower = { operator: await create('low', 'reader'), admin: await create('middle', 'operator') };
    const [audit, nodes] = [await world.audit(), await world.store.enrolment.nodes()];
    const refusals = (code: string) => world.metric(`assay_refusals_total{code="${code}"}`);
    const before = [await refusals('token_rejected'), await refusals('role_denied')];
    let [unknown, tooLow] = [0, 0];
    for (const { method, path, role } of routes.filter((route) => route.role !== 'none')) {
      const address = path.replaceAll(/\{\w+\}/g, 'node-1');
      const body = method === 'POST' ? {} : undefined;
      for (const [what, token] of Object.entries(refused)) {
        const { status, text } = await world.ask(method, address, token, body);
        assert.deepEqual(
          [status, JSON.parse(text).code],
          [401, 'token_rejected'],
          `${method} ${path} ${what}`,
        );
        unknown += 1;
      }
      if (role === 'operator' || role === 'admin') {
        const { status, text } = await world.ask(method, address, lower[role], body);
        assert.deepEqual([status, JSON.parse(text).code], [403, 'role_denied'], `${method} ${path}`);
        tooLow += 1;
      }
      assert(!allows('none', role));
    }
    assert.deepEqual(
      [await refusals('token_rejected'), await refusals('role_denied')],
      [Number(before[0]) + unknown, Number(before[1]) + tooLow],
    );
    // The audit log holds who tried, once in a while, nothing else, and nobody's secret.
    const after = await world.audit();
    assert.deepEqual(after.slice(0, audit.length), audit);
    const told = after.slice(audit.length).map(({ action, code, actor }) => `${action} ${code} ${actor}`);
    assert.deepEqual(
      new Set(told),
      new Set([
        'refuse token_rejected address:127.0.0.1',
        'refuse role_denied token:low',
        'refuse role_denied token:middle',
      ]),
    );
    assert(told.length < 12, String(told.length));
    assert.deepEqual(await world.store.enrolment.nodes(), nodes);
    assert(!JSON.stringify(after).includes(secret));
  });

  it('speaks no WebSocket to a browser or a script on the API’s port (row 80)', async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: world.server.apiPort, ca: world.ca }, () =>
        socket.write(
          'GET /v1/attest HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n' +
            'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
        ),
      );
      socket.once('data', (data: Buffer) => {
        socket.destroy();
        resolve(data.toString('latin1'));
      });
      socket.once('error', reject);
      socket.once('close', () => resolve(''));
    });
    assert.doesNotMatch(answer, /^HTTP\/1\.1 101/);
  });

  it('act under their own name in the audit log, within their role, over a restart', async () => {
    const alice = await create('alice', 'operator');
    const pins = (ek: string) => ({ pins: [{ node: 'node-1', ek: ek.repeat(64) }] });
    assert.equal((await world.ask('POST', '/v1/pins', alice, pins('a'))).status, 201);
    await world.restart();
    assert.equal((await world.ask('POST', '/v1/pins', alice, pins('b'))).status, 201);
    assert.equal((await world.ask('GET', '/v1/tokens', alice)).status, 403);
    const acted = (await world.audit()).filter(({ actor }) => actor === 'token:alice');
    assert.deepEqual(
      acted.map(({ action }) => action),
      ['ek.import', 'ek.import', 'refuse'],
    );
    const made = (await world.audit()).find(
      ({ action, subject }) => action === 'token.create' && subject === 'alice',
    );
    assert.deepEqual([made?.actor, made?.detail.role], ['token:admin', 'operator']);
  });

  it('are told once: no list, no file and no entry holds their text', async () => {
    const [, id = '', secret = ''] = (await create('bob', 'reader', 3600)).split('.');
    const list = await world.call('GET', '/v1/tokens');
    const bob = listOf(tokenView)
      .parse(list)
      .items.find(({ name }) => name === 'bob');
    assert.deepEqual([bob?.role, bob?.createdBy], ['reader', 'token:admin']);
    assert(!JSON.stringify(list).includes(secret));
    assert.notEqual((await world.store.tokens.find(id))?.secretHash, secret);
    for (const file of ['assay.db', 'assay.db-wal'])
      assert(!(await readFile(join(world.stateDir, file))).includes(secret), file);
  });

  it('have one name each, and never that of a file', async () => {
    await create('carol', 'reader');
    for (const name of ['carol', 'admin', 'reader']) await assert.rejects(create(name, 'admin'), /409/, name);
    for (const name of ['', 'Carol', 'a b', 'a\nb', `${'x'.repeat(65)}`])
      await assert.rejects(create(name, 'admin'), /400/, name);
    await assert.rejects(create('dave', 'none'), /400/);
    assert.equal((await world.ask('DELETE', '/v1/tokens/nobody', null)).status, 401);
  });
});
