import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { clusterView } from '../../../attest-server/api/cluster-api.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { startForgedFleet } from '../references/forged-fleet.ts';
import type { TestServer } from '../running-server.ts';
import { type ForgedSite, openForgedSite, sitePolicy } from './forged-site.ts';

const good = recordedLog('debian13-sdboot-uki');
const bad = tamper(good, 'kernel');
const nodes = ['node-1', 'node-2', 'node-3', 'node-4', 'node-5'];
/** Nobody boots with this argument. */
const wrong = (word: string) => `${sitePolicy('enforce')}    boot: { cmdline: { require: ["${word}"] } }\n`;

describe('a change of ours that turns verdicts', () => {
  let site: ForgedSite;
  let world: TestServer;
  beforeEach(async () => {
    site = await openForgedSite();
    ({ world } = site);
    for (const node of nodes) await site.add(node);
    await site.answer('node-1', good, 7);
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    await all('trusted');
    for (const node of nodes) await site.reaches(node, 'label True');
  });
  afterEach(() => site[Symbol.asyncDispose]());

  const all = async (state: string, log = good, resetCount = 7) => {
    for (const node of nodes) assert.equal(await site.answer(node, log, resetCount), state, node);
  };
  /** Such a policy is refused, unless a person forces it: what waits then is what this is about. */
  const force = async (policy: string) => {
    const revision = hash('sha256', policy).slice(0, 12);
    await world.call('POST', '/v1/policy/allow', { revision, reason: 'a slip' });
  };
  const reload = async (policy: string) => {
    await force(policy);
    await writeFile(site.policyFile, policy);
    await world.server.reload();
  };
  const shown = async () => clusterView.parse(await world.call('GET', '/v1/cluster'));
  const held = async () =>
    (await shown()).failing.map(({ code, value, waiting, tainted, decision, ours }) =>
      [code, value?.replace(/@.*/, ''), waiting, tainted, decision, ours].join(' '),
    );
  const reaches = async (marks: string) => {
    for (const node of nodes) await site.reaches(node, marks);
  };
  const why = async (node: string) => nodeView.parse(await world.call('GET', `/v1/nodes/${node}`));
  const assay = (...words: readonly string[]) => runAssay(words, { env: world.env() });
  const untrusted = 'untrusted=cmdline_policy False';

  it('taints nobody by a wrong policy, after restarts and by a second wrong try either, until a person says so (row 376)', async () => {
    await reload(wrong('missing'));
    await all('untrusted');
    await reaches('False');
    await world.until(async () => (await held()).length > 0);
    assert.deepEqual(await held(), ['cmdline_policy policy policy 5 0 open true']);
    assert.equal(await world.metric('assay_nodes_turned{change="policy"}'), 5);
    assert.equal(await world.metric('assay_circuit_breaker_open{scope="our_change"}'), 1);
    assert.equal(await world.metric('assay_circuit_breaker_open{scope="drift"}'), 0);
    await world.restart();
    await world.until(async () => (await shown()).lease?.ours === true);
    await all('untrusted');
    await reload(wrong('other'));
    await all('untrusted');
    await reaches('False');
    await world.until(async () => (await held()).length > 1);
    await world.call('POST', '/v1/cluster/breaker/release', { reason: 'meant', groups: [] });
    await reaches(untrusted);
    await reload(sitePolicy('enforce'));
    await all('trusted');
    await reaches('label True');
  });

  it('taints nobody where a person goes back to a policy that is wrong, after a restart either (row 376)', async () => {
    await reload(wrong('missing'));
    await reload(sitePolicy('enforce'));
    await all('trusted');
    const revision = hash('sha256', wrong('missing')).slice(0, 12);
    await world.call('POST', '/v1/policy/rollback', { revision, reason: 'a slip, too' });
    await all('untrusted');
    await reaches('False');
    await world.restart();
    await world.until(async () => (await shown()).lease?.ours === true);
    await all('untrusted');
    await world.until(async () => (await held()).some((row) => row.endsWith('5 0 open true')));
    await reaches('False');
    await writeFile(site.policyFile, wrong('another'));
    await world.server.reload().catch(() => {});
    await all('untrusted');
    await reaches('False');
    // Whoever is tampered with meanwhile has its taint.
    assert.equal(await site.answer('node-2', bad, 8), 'untrusted');
    await world.until(() => site.marksOf('node-2').startsWith('untrusted='));
    await reload(sitePolicy('enforce'));
    await all('trusted', good, 9);
    await reaches('label True');
  });

  it('says that nothing changed on the node, and the way back (row 384)', async () => {
    await reload(wrong('missing'));
    await all('untrusted');
    const { turned, reasons, ourChange } = await why('node-2');
    assert.equal(ourChange, 'policy');
    assert.match(
      turned?.text ?? '',
      /^Nothing changed on the node: policy policy@[0-9a-f]{12} came into force at 2\S+Z \(before: policy@[0-9a-f]{12}\)\.$/,
    );
    for (const command of [
      'breaker list',
      'breaker release',
      'policy history',
      'policy diff',
      'policy rollback',
    ])
      assert.match(turned?.next ?? '', new RegExp(`\\n {2}assay ${command}`));
    for (const { next } of reasons) assert.equal(next, turned?.next);
    const said = await assay('why', 'node-2');
    assert.match(said.out, /^node-2 is untrusted.*\n {2}Nothing changed on the node: policy policy@/);
    assert.match(said.out, / {2}assay policy rollback [0-9a-f]{12} --reason "it is wrong for these nodes"\n/);
    assert.doesNotMatch(said.out, /capture|boot loader/);
    await world.until(async () => (await held()).length > 0);
    const list = await assay('breaker', 'list');
    assert.deepEqual(
      [list.code, /policy policy@[0-9a-f]{12} +5 +0 +5 +open/.test(list.out)],
      [12, true],
      list.out,
    );
    assert.match(
      (await assay('status')).out,
      /taints of 5 nodes wait[\s\S]*by a change of ours.*: policy policy@/,
    );
  });

  it('says whom a revocation would taint, and asks (row 377)', async () => {
    const revoke = ['reference', 'revoke', 'good', '--reason', 'known as bad'];
    const dry = await assay(...revoke, '--dry-run');
    assert.match(
      dry.out,
      /5 nodes \(node-1, .*\) would get no taint until a person releases it: assay breaker release/,
    );
    const dryTaint = await assay(...revoke, '--taint', '--dry-run');
    assert.match(dryTaint.out, /5 nodes \(node-1, .*\) would be tainted at once/);
    assert.equal((await assay(...revoke, '--taint')).code, 2, 'nobody to ask');
    await all('trusted');
    const done = await assay(...revoke, '--taint', '--yes');
    assert.equal(done.code, 0, done.err);
    await all('untrusted');
    await reaches('untrusted=revoked_reference False');
  });

  it('says nothing of taints where the policy only observes', async () => {
    await reload(sitePolicy('observe'));
    await all('trusted');
    for (const taint of [[], ['--taint']]) {
      const { code, out } = await assay(
        'reference',
        'revoke',
        'good',
        '--reason',
        'why',
        '--dry-run',
        ...taint,
      );
      assert.equal(code, 10);
      assert.match(out, /5 would turn untrusted/);
      assert.doesNotMatch(out, /taint/);
    }
  });

  it('taints nobody by a wrong revocation, and at once where that is asked for (row 377)', async () => {
    await world.call('POST', '/v1/references/good/revoke', { reason: 'the wrong name' });
    await all('untrusted');
    await reaches('False');
    await world.until(async () => (await held()).length > 0);
    assert.deepEqual(await held(), ['revoked_reference reference good 5 0 open true']);
    const { turned } = await why('node-2');
    assert.match(
      turned?.text ?? '',
      /^Nothing changed on the node: reference good was revoked by token:admin at /,
    );
    assert.match(turned?.next ?? '', /\n {2}assay reference restore good --reason /);
    await world.call('POST', '/v1/references/good/restore', { reason: 'a mistake' });
    await all('trusted');
    await reaches('label True');
    await world.call('POST', '/v1/references/good/revoke', { reason: 'known as bad', taint: true });
    await all('untrusted');
    await reaches('untrusted=revoked_reference False');
    const { detail } = (await world.audit()).findLast(({ action }) => action === 'reference.revoke') ?? {};
    assert.equal(detail?.taint, true);
  });

  it('hides no node that is tampered with before, with or after a reload (row 378)', async () => {
    assert.equal(await site.answer('node-3', bad, 8), 'untrusted');
    await site.reaches('node-3', 'untrusted=kernel_unknown False');
    await reload(wrong('missing'));
    for (const node of ['node-1', 'node-2']) assert.equal(await site.answer(node, good, 7), 'untrusted');
    // Tampered with beside the reload, and after its verdict had turned.
    assert.equal(await site.answer('node-4', bad, 8), 'untrusted');
    assert.equal(await site.answer('node-2', bad, 8), 'untrusted');
    for (const node of ['node-2', 'node-4'])
      await world.until(() => site.marksOf(node).startsWith('untrusted='));
    await site.reaches('node-1', 'False');
    assert.match(site.marksOf('node-3'), /^untrusted=/);
    assert.equal((await why('node-2')).ourChange, null);
    // Good again, by what trusted it: it was caught, and stays so until it is trusted.
    assert.equal(await site.answer('node-2', good, 9), 'untrusted');
    assert.equal(await site.answer('node-1', good, 7), 'untrusted');
    assert.match(site.marksOf('node-2'), /^untrusted=/);
    assert.equal(site.marksOf('node-1'), 'False');
  });

  it('lets no node go over to what is revoked while its taint waits (row 380)', async () => {
    assert.equal(await site.answer('node-5', bad, 8), 'untrusted');
    await world.call('POST', '/v1/references', {
      node: 'node-5',
      name: 'other',
      reason: 'its kernel is good',
    });
    assert.equal(await site.answer('node-5', bad, 8), 'trusted');
    await all('trusted', good, 9);
    await reload(wrong('missing'));
    await all('untrusted', good, 9);
    await world.call('POST', '/v1/references/other/revoke', { reason: 'known as bad' });
    await all('untrusted', good, 9);
    await reaches('False');
    assert.equal(await site.answer('node-1', bad, 10), 'untrusted');
    await world.until(() => site.marksOf('node-1').startsWith('untrusted='));
    assert.equal(site.marksOf('node-2'), 'False');
  });

  it('waits for references that were revoked by mistake, minutes after others were released (row 371)', async () => {
    const isGood = (node: string) => site.answer(node, good, 7);
    const capture = (node: string, name: string) =>
      world.call('POST', '/v1/references', { node, name, reason: 'its kernel is good' });
    const revoke = (name: string) => world.call('POST', `/v1/references/${name}/revoke`, { reason: 'bad' });
    assert.equal(await site.answer('node-5', bad, 8), 'untrusted');
    for (const name of ['other', 'other-2']) await capture('node-5', name);
    await capture('node-1', 'good-2');
    assert.equal(await site.answer('node-5', bad, 8), 'trusted');
    for (const node of nodes.slice(0, 4)) assert.equal(await isGood(node), 'trusted');
    for (const name of ['other', 'other-2']) await revoke(name);
    assert.equal(await site.answer('node-5', bad, 8), 'untrusted');
    await world.until(async () => (await held()).length > 0);
    await world.call('POST', '/v1/cluster/breaker/release', { reason: 'meant', groups: [] });
    await world.until(() => site.marksOf('node-5').startsWith('untrusted='));
    for (const name of ['good', 'good-2']) await revoke(name);
    for (const node of nodes.slice(0, 4)) assert.equal(await isGood(node), 'untrusted');
    for (const node of nodes.slice(0, 4)) await site.reaches(node, 'False');
    await world.until(async () => (await held()).some((row) => row.includes(' 4 0 open')));
    assert.deepEqual((await held()).toSorted(), [
      'revoked_reference references good, good-2, other, other-2 4 0 open true',
      'revoked_reference references other, other-2 0 1 released true',
    ]);
  });

  it('lets a node that booted anew behind a wrong policy have what the earlier rules ask for (row 379)', async () => {
    await reload(wrong('missing'));
    await all('untrusted');
    await reaches('False');
    // Only its gate answers since: whatever runs there, it is not proven.
    assert.equal(await site.gate('node-1', good, 8), 'untrusted');
    await site.reaches('node-1', 'reproving False');
    assert.equal(await site.gate('node-2', bad, 8), 'untrusted');
    await world.until(() => site.marksOf('node-2').startsWith('untrusted='));
    assert.equal(site.marksOf('node-3'), 'False');
  });

  /** What is kept of the nodes is changed while the server is down. */
  const changeKept = (statement: string) => async () => {
    using database = new DatabaseSync(join(world.stateDir, 'assay.db'));
    database.exec(statement);
  };

  it('waits where the version alone is another one, as long as the node shows what it showed (row 381)', async () => {
    const policy = wrong('missing');
    await force(policy);
    await writeFile(site.policyFile, policy);
    const kept = `'$.policy', '${hash('sha256', policy)}', '$.version', '0.0.9'`;
    await world.restart(changeKept(`update statuses set trusted_by = json_set(trusted_by, ${kept})`));
    await world.until(async () => (await shown()).lease?.ours === true);
    for (const node of ['node-1', 'node-2']) assert.equal(await site.answer(node, good, 7), 'untrusted');
    assert.equal(await site.answer('node-3', bad, 8), 'untrusted');
    await world.until(() => site.marksOf('node-3').startsWith('untrusted='));
    await world.until(async () => (await held()).length > 0);
    assert.match((await held())[0] ?? '', /^cmdline_policy server .* 2 0 open true$/);
    assert.match(
      (await why('node-1')).turned?.text ?? '',
      /^Nothing changed on the node: version .* \(before: 0\.0\.9\)/,
    );
    assert.equal(site.marksOf('node-1'), 'False');
    assert.equal(await site.answer('node-1', bad, 8), 'untrusted');
    await world.until(() => site.marksOf('node-1').startsWith('untrusted='));
    assert.equal(site.marksOf('node-2'), 'False');
  });

  it('waits for nobody where what trusted the nodes cannot be read any more (row 383)', async () => {
    await force(wrong('missing'));
    await writeFile(site.policyFile, wrong('missing'));
    await world.restart(
      changeKept(
        `delete from evidence where digest in (select json_extract(trusted_by, '$.policy') from statuses)`,
      ),
    );
    await world.until(async () => (await shown()).lease?.ours === true);
    await all('untrusted');
    await reaches(untrusted);
  });

  it('marks no fleet as machines without a TPM by a slip (row 382)', async () => {
    await reload(sitePolicy('enforce').replace('require: [identity, boot]', 'tpm: absent'));
    await all('unsupported');
    await world.until(async () => (await held()).length > 0);
    assert.deepEqual(await held(), ['unsupported_tpm policy policy 5 0 open true']);
    for (const node of nodes) assert.doesNotMatch(site.marksOf(node), /untrusted|label/);
    await world.call('POST', '/v1/cluster/breaker/release', { reason: 'meant', groups: [] });
    for (const node of nodes)
      await world.until(() => site.marksOf(node).startsWith('untrusted=unsupported_tpm'));
  });

  it('has nothing to wait for of a TPM that was never trusted, nor of one that is enrolled anew (row 385)', async () => {
    await world.call('POST', '/v1/enrolments/node-4/revoke', { reason: 'another board' });
    await site.add('node-6');
    await site.enrolAgain('node-4');
    await reload(wrong('missing'));
    for (const node of ['node-4', 'node-6']) {
      assert.equal(await site.answer(node, good, 7), 'untrusted');
      await site.reaches(node, untrusted);
    }
    assert.equal(await site.answer('node-1', good, 7), 'untrusted');
    await site.reaches('node-1', 'False');
  });
});

describe('a revocation at a server that marks no nodes', () => {
  it('says nothing of taints', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'assay-unmarked-'));
    await using opened = new AsyncDisposableStack();
    opened.defer(() => rm(folder, { recursive: true }));
    const policy = join(folder, 'policy.yaml');
    await writeFile(policy, sitePolicy('enforce'));
    const fleet = opened.use(await startForgedFleet({ 'node-1': good }, { policy }));
    const { world } = fleet;
    await fleet.answer('node-1');
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    assert.equal(await fleet.answer('node-1'), 'trusted');
    const words = ['reference', 'revoke', 'good', '--reason', 'why', '--dry-run'];
    for (const taint of [[], ['--taint']]) {
      const { code, out } = await runAssay([...words, ...taint], { env: world.env() });
      assert.equal(code, 10);
      assert.match(out, /1 would turn untrusted/);
      assert.doesNotMatch(out, /taint/);
    }
  });
});
