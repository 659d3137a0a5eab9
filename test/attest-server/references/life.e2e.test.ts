import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { simulateAnswer } from '../../../attest-server/protocol/policy-api.ts';
import type { ReferenceAction } from '../../../attest-server/protocol/reference-life.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { type ForgedFleet, startForgedFleet } from './forged-fleet.ts';

const good = recordedLog('debian13-sdboot-uki');

describe('a step of a reference’s life, over kept evidence', () => {
  let fleet: ForgedFleet;
  before(async () => {
    fleet = await startForgedFleet({ 'node-1': good, 'node-2': good, 'node-3': tamper(good, 'kernel') });
    const { world, nodes, answer } = fleet;
    for (const node of nodes) await answer(node);
    await world.call('POST', '/v1/references', { nodes, name: 'workers' });
    for (const node of nodes) assert.equal(await answer(node), 'trusted');
  });
  after(() => fleet?.[Symbol.asyncDispose]());

  const states = async () => {
    const found: string[] = [];
    for (const node of fleet.nodes) found.push(`${node} ${(await fleet.world.status(node))?.state}`);
    return found;
  };
  const simulate = async (name: string, action: ReferenceAction, page: object = {}) =>
    simulateAnswer.parse(await fleet.world.call('POST', `/v1/references/${name}/${action}/simulate`, page));
  function step(action: ReferenceAction, name: string) {
    const { world } = fleet;
    const env = {
      ASSAY_SERVER: `https://127.0.0.1:${world.server.apiPort}`,
      ASSAY_TOKEN_FILE: join(world.stateDir, 'admin.token'),
      ASSAY_CA_FILE: world.server.caFile,
    };
    return runAssay(['reference', action, name, '--reason', 'because', '-o', 'json'], { env });
  }
  /** Rows of the table that the command printed: node, state now, state then. */
  const rows = (err: string) =>
    [...err.matchAll(/^(node-\d) +(\w+) +(\w+) /gm)].map((row) => row.slice(1, 4));

  it('changes nothing where it is only tried, and is answered a page at a time', async () => {
    const before = [
      await states(),
      await fleet.world.store.references.list(),
      (await fleet.world.audit()).length,
    ];
    const first = await simulate('workers', 'retire', { limit: 2 });
    const rest = await simulate('workers', 'retire', { limit: 2, after: first.next });
    assert.deepEqual(
      [first, rest].flatMap(({ items }) => items.map(({ node, after }) => [node, after?.state])),
      [
        ['node-1', 'untrusted'],
        ['node-2', 'untrusted'],
        ['node-3', 'trusted'],
      ],
    );
    assert.deepEqual([first.next, rest.next], ['node-2', null]);
    assert.deepEqual(
      [await states(), await fleet.world.store.references.list(), (await fleet.world.audit()).length],
      before,
    );
  });

  it('names exactly the nodes that it then changes', async () => {
    const revoked = await step('revoke', 'workers-2');
    assert.deepEqual([revoked.code, JSON.parse(revoked.out).state], [0, 'revoked']);
    assert.deepEqual(rows(revoked.err), [['node-3', 'trusted', 'untrusted']]);
    assert.match(revoked.err, /revoked_reference/);
    const found: string[] = [];
    for (const node of fleet.nodes) found.push(`${node} ${await fleet.answer(node)}`);
    assert.deepEqual(found, ['node-1 trusted', 'node-2 trusted', 'node-3 untrusted']);
  });

  it('is refused when it is tried as it is when it is taken, and the command says so once', async () => {
    const { world } = fleet;
    for (const [name, action, status] of [
      ['workers-2', 'approve', 409],
      ['workers', 'approve', 409],
      ['workers-9', 'revoke', 404],
    ] as const) {
      const path = `/v1/references/${name}/${action}`;
      const answers = await Promise.allSettled([
        world.call('POST', path, { reason: 'because' }),
        world.call('POST', `${path}/simulate`, {}),
      ]);
      const [taken = '', tried] = answers.map((answer) =>
        answer.status === 'rejected' ? String(answer.reason).replace(/^.*: (?=\d{3} \{)/, '') : 'done',
      );
      assert.match(taken, new RegExp(`^${status} `));
      assert.equal(tried, taken);
      const { code, err } = await step(action, name);
      // The fault alone, and below it what to do.
      assert.deepEqual([code, err.split('\n').filter((line) => /^\S/.test(line)).length], [1, 1], err);
    }
  });
});
