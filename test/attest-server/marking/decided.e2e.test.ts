import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, describe, it } from 'mocha';
import { clusterView, unmarkAnswer } from '../../../attest-server/api/cluster-api.ts';
import { simulateAnswer } from '../../../attest-server/api/policy-api.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import type { TestServer } from '../running-server.ts';
import { type ForgedSite, openForgedSite, sitePolicy } from './forged-site.ts';

const good = recordedLog('debian13-sdboot-uki');
const bad = tamper(good, 'kernel');
/** Each test goes on where the one before it ended. */
describe('what people decide about a cluster', () => {
  let site: ForgedSite;
  let world: TestServer;
  before(async () => {
    site = await openForgedSite();
    ({ world } = site);
  });
  after(() => site?.[Symbol.asyncDispose]());

  const answer = (node: string, bootLog: Buffer, resetCount: number) =>
    site.answer(node, bootLog, resetCount);
  const marksOf = (node: string) => site.marksOf(node);
  const reaches = (node: string, marks: string) => site.reaches(node, marks);
  const shown = async () => clusterView.parse(await world.call('GET', '/v1/cluster'));
  const untrusted = 'untrusted=kernel_unknown False';

  it('begins with one node that is trusted and one that is not', async () => {
    for (const node of ['node-1', 'node-2']) await site.add(node);
    await answer('node-1', good, 7);
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    for (const node of ['node-1', 'node-2']) assert.equal(await answer(node, good, 7), 'trusted');
    assert.equal(await answer('node-2', bad, 8), 'untrusted');
    await reaches('node-1', 'label True');
    await reaches('node-2', untrusted);
  });

  it('lets an exempt node work without its taint, and never with the label', async () => {
    const body = { node: 'node-2', reason: 'the only one with that disk', forSeconds: 3600 };
    await world.call('POST', '/v1/cluster/exemptions', body);
    await reaches('node-2', 'False');
    assert.equal((await world.status('node-2'))?.state, 'untrusted');
    assert.equal(await answer('node-2', bad, 8), 'untrusted');
    assert.equal(marksOf('node-2'), 'False');
    assert.deepEqual(
      (await shown()).exemptions.map(({ node, reason }) => [node, reason]),
      [['node-2', body.reason]],
    );
    await world.restart();
    await world.until(async () => (await shown()).synced);
    assert.equal((await shown()).exemptions.length, 1);
    const short = { node: 'node-2', reason: 'over soon', forSeconds: 1 };
    await world.call('POST', '/v1/cluster/exemptions', short);
    await reaches('node-2', untrusted);
    // The mark may come before the log says why.
    const ended = await world.until(async () =>
      (await world.audit()).findLast(({ action }) => action === 'exempt.end'),
    );
    assert.deepEqual([ended.actor, ended.subject], ['server', 'node-2']);
  });

  it('adds no mark while it is paused, takes the label all the same, and marks afterwards', async () => {
    await world.call('POST', '/v1/cluster/pause', { reason: 'a wrong reference' });
    assert.equal(await answer('node-1', bad, 8), 'untrusted');
    await world.until(() => !marksOf('node-1').includes('label'));
    assert.ok(!marksOf('node-1').includes('untrusted'), marksOf('node-1'));
    await world.call('POST', '/v1/cluster/resume', {});
    // Two nodes of two: the second one waits for a person.
    await world.until(async () => (await shown()).failing.some(({ decision }) => decision === 'open'));
    assert.equal(marksOf('node-1'), 'False');
    await world.call('POST', '/v1/cluster/breaker/release', { reason: 'it is bad', groups: ['workers'] });
    await reaches('node-1', untrusted);
    assert.equal(await answer('node-1', good, 9), 'trusted');
    await reaches('node-1', 'label True');
  });

  it('says in a trial which marks another policy would change', async () => {
    const tried = { policy: sitePolicy('observe'), file: 'policy.yaml' };
    const { items, latched } = simulateAnswer.parse(await world.call('POST', '/v1/policy/simulate', tried));
    assert.deepEqual(
      items.map(({ node, marks }) => [node, marks]),
      [
        ['node-1', { before: { taints: [], label: true }, after: { taints: [], label: false } }],
        [
          'node-2',
          {
            before: { taints: ['assay.dev/untrusted=kernel_unknown'], label: false },
            after: { taints: [], label: false },
          },
        ],
      ],
    );
    assert.deepEqual(latched, []);
  });

  it('refuses a weaker policy once trust is enabled, also at a start', async () => {
    const trust = { groups: ['workers'], auditKeyCopy: await world.auditKeyCopy() };
    await world.call('POST', '/v1/cluster/trust', trust);
    const file = site.policyFile;
    await writeFile(file, sitePolicy('observe'));
    await assert.rejects(world.server.reload(), /policy\.yaml:6: groups\.0\.mode: latched: /);
    assert.equal((await shown()).groups[0]?.mode, 'enforce');
    const tried = { policy: sitePolicy('observe'), file: 'policy.yaml' };
    const trial = simulateAnswer.parse(await world.call('POST', '/v1/policy/simulate', tried));
    assert.deepEqual(
      trial.latched.map(({ field }) => field),
      ['groups.0.mode'],
    );
    await world.restart();
    await world.until(async () => (await shown()).synced);
    await world.until(async () => (await shown()).latch?.inCluster === true);
    const view = await shown();
    assert.deepEqual(
      [view.groups[0]?.mode, view.latch?.groups, view.latch?.faults],
      ['enforce', ['workers'], []],
    );
    assert.equal(marksOf('node-2'), untrusted);
    const refused = (await world.audit()).filter(({ action }) => action === 'reload.refuse');
    assert.equal(refused.length, 2);
  });

  it('frees every node and trusts none where a latched cluster is uninstalled, (row 105)', async () => {
    const token = (body: object) => world.call('POST', '/v1/cluster/unmark', body);
    await assert.rejects(token({}), /409 .*latched/);
    await assert.rejects(token({ clusterUid: 'another', reason: 'moved' }), /409 .*latched/);
    assert.equal(marksOf('node-1'), 'label True');
    const { uid } = await world.until(async () => {
      const view = await shown();
      return view.uid === null ? null : view;
    });
    const done = unmarkAnswer.parse(await token({ clusterUid: uid, reason: 'moved' }));
    assert.deepEqual([...done.nodes].sort(), ['node-1', 'node-2']);
    assert.deepEqual([marksOf('node-1'), marksOf('node-2')], ['-', '-']);
    assert.equal(await answer('node-1', good, 9), 'trusted');
    await world.restart();
    await world.until(async () => (await shown()).lease?.ours === true);
    assert.deepEqual([marksOf('node-1'), marksOf('node-2')], ['-', '-']);
    const view = await shown();
    assert.deepEqual([view.pause?.reason, view.latch?.groups], ['moved', ['workers']]);
    await world.call('POST', '/v1/cluster/resume', {});
    await reaches('node-1', 'label True');
    await reaches('node-2', untrusted);
  });

  it('ends an exemption with the enrolment: another machine of that name was not meant', async () => {
    const body = { node: 'node-2', reason: 'a demo', forSeconds: 3600 };
    await world.call('POST', '/v1/cluster/exemptions', body);
    await world.call('POST', '/v1/enrolments/node-2/revoke', { reason: 'sold' });
    await world.until(async () => (await shown()).exemptions.length === 0);
    await reaches('node-2', 'pending Unknown');
  });
});
