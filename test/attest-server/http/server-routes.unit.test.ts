import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { attestAnswer, joinTokenView } from '../../../attest-server/api/api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { statusView, whoamiView } from '../../../attest-server/api/server-api.ts';
import {
  type ApiServer,
  ask,
  emptyWorld,
  enrolled,
  now,
  startApi,
  statusOf,
  verdictOf,
} from './api-fixture.ts';

describe('the API about the server and who asks it', () => {
  const world = emptyWorld();
  let server: ApiServer;
  const get = async (path: string, token = 'reader-token') =>
    JSON.parse((await ask(server, path, { token })).text);

  before(async () => {
    for (const [name, held] of [
      ['node-1', null],
      ['node-2', 'counter_rollback'],
    ] as const)
      world.nodes.set(name, {
        enrolled: enrolled(name),
        status: statusOf(name, verdictOf({ state: held === null ? 'trusted' : 'untrusted' }), {
          sequence: { firstBootId: null, rewind: 'none', replaced: null, held },
        }),
      });
    server = await startApi(world);
  });
  after(() => server.close());

  it('says each caller his own name, role and end', async () => {
    assert.deepEqual(whoamiView.strict().parse(await get('/v1/whoami')), {
      name: 'token:reader',
      role: 'reader',
      expiresAt: null,
    });
    const { role, expiresAt } = whoamiView.parse(await get('/v1/whoami', 'operator-token'));
    assert.deepEqual([role, expiresAt], ['operator', new Date(now + 3_600_000).toISOString()]);
  });

  it('says how it is: with exactly its members, nodes by state, and what a person has to decide', async () => {
    world.rollback = 'shorter than it was';
    const status = statusView.strict().parse(await get('/v1/status'));
    assert.deepEqual(status.nodes, { pending: 0, trusted: 1, untrusted: 1, unknown: 0, unsupported: 0 });
    assert.deepEqual(
      status.held.map(({ node, code }) => [node, code]),
      [
        [null, 'audit_rollback'],
        ['node-2', 'counter_rollback'],
      ],
    );
    assert.match(status.held[1]?.next ?? '', /^assay enrol approve node-2 --ek [0-9a-f]{64}$/);
    world.rollback = null;
    assert.equal(statusView.parse(await get('/v1/status')).held.length, 1);
  });

  it('says how the webhook is, and tries it for operators', async () => {
    const post = (to: ApiServer, token: string) =>
      ask(to, '/v1/webhook/test', { method: 'POST', token, body: '{}' });
    assert.equal(statusView.parse(await get('/v1/status')).webhook, null);
    assert.equal((await post(server, 'operator-token')).status, 409);
    const shown = {
      to: 'https://receiver.example',
      waiting: 2,
      oldestAt: new Date(now).toISOString(),
      deliveredAt: null,
      fault: 'the receiver answered 503',
      dropped: 0,
    };
    const tried = { delivered: false, status: 503, text: 'the receiver answered 503', milliseconds: 7 };
    const by: string[] = [];
    const test = async (actor: string) => {
      by.push(actor);
      return tried;
    };
    const telling = await startApi({ ...world, webhook: { shown: () => shown, test } });
    try {
      const status = await ask(telling, '/v1/status', { token: 'reader-token' });
      assert.deepEqual(statusView.parse(JSON.parse(status.text)).webhook, shown);
      assert.equal((await post(telling, 'reader-token')).status, 403);
      const answer = await post(telling, 'operator-token');
      assert.deepEqual([answer.status, JSON.parse(answer.text), by], [201, tried, ['token:operator']]);
    } finally {
      await telling.close();
    }
  });

  it('quotes the name of a policy file for the shell that the command is pasted into', async () => {
    world.faulty.push({ part: 'policy', at: now, text: 'no', refused: null });
    world.policySource = "/etc/assay/it's; reboot/$(id).yaml";
    const { faulty } = statusView.parse(await get('/v1/status'));
    world.faulty.length = 0;
    assert.equal(faulty[0]?.next, "assay policy check '/etc/assay/it'\\''s; reboot/$(id).yaml'");
  });

  it('asks a node now, and says whether it is connected', async () => {
    const post = (name: string, token: string) =>
      ask(server, `/v1/nodes/${name}/attest`, { method: 'POST', token, body: '{}' });
    world.answering.set('node-1', () => {});
    const answers = [await post('node-1', 'operator-token'), await post('node-2', 'operator-token')];
    assert.deepEqual(
      answers.map(({ status, text }) => [status, attestAnswer.parse(JSON.parse(text)).connected]),
      [
        [202, true],
        [202, false],
      ],
    );
    assert.equal((await post('node-9', 'operator-token')).status, 404);
    world.unsupported.push({ name: 'old-1', group: 'old', mode: 'observe', policy: 'observe@0' });
    assert.equal((await post('old-1', 'operator-token')).status, 409);
    assert.equal((await post('node-1', 'reader-token')).status, 403);
    assert.deepEqual(world.asked, ['node-1', 'node-2']);
  });

  it('lists join tokens without their secrets, and takes back those that nobody used', async () => {
    world.madeTokens.push(
      { id: 'AAAAAAAAAAAA', node: 'node-7', by: 'token:alice', expiresAt: now + 1000, usedAt: null },
      { id: 'BBBBBBBBBBBB', node: 'node-8', by: 'token:alice', expiresAt: now + 1000, usedAt: now },
    );
    const list = listOf(joinTokenView.strict()).parse(await get('/v1/join-tokens', 'operator-token'));
    assert.deepEqual(
      list.items.map(({ id, usedAt }) => [id, usedAt === null]),
      [
        ['AAAAAAAAAAAA', true],
        ['BBBBBBBBBBBB', false],
      ],
    );
    const revoke = async (id: string) =>
      (await ask(server, `/v1/join-tokens/${id}`, { method: 'DELETE', token: 'operator-token' })).status;
    assert.deepEqual(
      [
        await revoke('AAAAAAAAAAAA'),
        await revoke('AAAAAAAAAAAA'),
        await revoke('BBBBBBBBBBBB'),
        await revoke('x'),
      ],
      [200, 404, 404, 404],
    );
  });
});
