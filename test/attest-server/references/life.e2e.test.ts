import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { simulateAnswer } from '../../../attest-server/api/policy-api.ts';
import type { ReferenceAction } from '../../../attest-server/formats/reference.ts';
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
    const env = fleet.world.env();
    return runAssay(['reference', action, name, '--reason', 'because', '--yes', '-o', 'json'], { env });
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

  it('that was a mistake is taken back: nodes are trusted again with their next answer, and why says who did what', async () => {
    const { world, answer } = fleet;
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'copy', staged: true });
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'second' });
    const revoked = await step('revoke', 'copy');
    assert.deepEqual(
      JSON.parse(revoked.out).sharedWith.map(({ name, whole }: { name: string; whole: boolean }) => [
        name,
        whole,
      ]),
      [
        ['second', true],
        ['workers', true],
      ],
    );
    assert.match(revoked.err, /2 would turn untrusted: node-1 and node-2/);
    assert.match(revoked.err, /second and workers/);
    assert.equal(await answer('node-1'), 'untrusted');
    const node = nodeView.parse(await world.call('GET', '/v1/nodes/node-1'));
    const [reason] = node.reasons;
    assert.deepEqual([reason?.code, reason?.reference], ['revoked_reference', 'copy']);
    assert.match(reason?.text ?? '', /token:admin revoked it on \d{4}-\S+Z \(because\)/);
    assert.match(reason?.next ?? '', /^ {2}assay reference restore copy --reason "/m);

    const restored = await step('restore', 'copy');
    assert.deepEqual([restored.code, JSON.parse(restored.out).state], [0, 'staged']);
    assert.deepEqual(rows(restored.err), [
      ['node-1', 'untrusted', 'trusted'],
      ['node-2', 'untrusted', 'trusted'],
    ]);
    for (const each of ['node-1', 'node-2']) assert.equal(await answer(each), 'trusted');
    const entries = (await world.audit()).filter(({ subject }) => subject === 'copy');
    assert.deepEqual(
      entries.slice(-2).map(({ actor, action, detail }) => [actor, action, detail]),
      [
        [
          'token:admin',
          'reference.revoke',
          { kind: 'boot', from: 'staged', to: 'revoked', reason: 'because', affirmedBy: 'second workers' },
        ],
        [
          'token:admin',
          'reference.restore',
          { kind: 'boot', from: 'revoked', to: 'staged', reason: 'because' },
        ],
      ],
    );
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
