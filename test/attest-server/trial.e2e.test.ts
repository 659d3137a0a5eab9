import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { historyView } from '../../attest-server/api/api.ts';
import { listOf } from '../../attest-server/api/list.ts';
import { nodeView } from '../../attest-server/api/node-api.ts';
import { simulateAnswer } from '../../attest-server/api/policy-api.ts';
import { statusView } from '../../attest-server/api/server-api.ts';
import { parsePolicy } from '../../attest-server/policy/file/policy-file.ts';
import { plainEnrolments } from '../../attest-server/policy/policy.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { answerWithBoot, assertRefused, dial, introduce } from './attacker.ts';
import { runAssay } from './cli/cli-fixture.ts';
import { type ForgedTpm, forgedTpm } from './forged-tpm.ts';
import { startTestServer, type TestServer } from './running-server.ts';

const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - { name: early, nodes: ["early-*"], mode: observe, enrolment: [first-use, approval], require: [identity] }
  - { name: workers, nodes: ["*"], mode: enforce, enrolment: [pin, approval], require: [identity, boot] }
`;

const bootLog = recordedLog('debian13-sdboot-uki');

/** Each test goes on where the one before it ended. */
describe('a server on trial (row 301)', () => {
  let world: TestServer;
  let folder: string;
  let isOnTrial = true;
  const tpm = forgedTpm();
  const early = forgedTpm();
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-trial-'));
    const file = join(folder, 'policy.yaml');
    await writeFile(file, policy);
    world = await startTestServer({ policy: file, trial: () => isOnTrial });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });
  const shown = async (node: string) => nodeView.parse(await world.call('GET', `/v1/nodes/${node}`));
  const status = async () => statusView.parse(await world.call('GET', '/v1/status'));
  const assay = (...args: readonly string[]) =>
    runAssay(args, { env: world.env(), now: Date.now, cwd: folder });
  async function prove(node: string, its: ForgedTpm): Promise<string> {
    const peer = await introduce(world, its, node);
    const state = await answerWithBoot(peer, its, { node, bootLog, resetCount: 7 });
    await peer.close();
    return state;
  }

  it('says so in each verdict, and holds a group that enforces in observe', async () => {
    await world.pin('node-1', tpm.ekDigest);
    assert.equal(await prove('node-1', tpm), 'pending');
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    assert.equal(await prove('node-1', tpm), 'trusted');
    assert.equal(await prove('early-1', early), 'trusted');
    const { state, trial, mode } = await shown('node-1');
    assert.deepEqual({ state, trial, mode }, { state: 'trusted', trial: true, mode: 'observe' });
    const history = listOf(historyView).parse(await world.call('GET', '/v1/nodes/node-1/history'));
    assert.deepEqual(
      history.items.map((entry) => entry.trial),
      [true, true],
    );
    const verdicts = (await world.audit()).filter(({ action }) => action === 'verdict' || action === 'enrol');
    assert.ok(verdicts.length > 0);
    for (const { detail } of verdicts) assert.equal(detail.trial, true);
  });

  it('says so in its status, in a metric, and wherever a state is shown', async () => {
    assert.equal((await status()).trial, true);
    assert.equal(await world.metric('assay_trial'), 1);
    assert.match((await assay('get', 'nodes')).out, /^node-1 +trusted 2\/6 \(trial\) /m);
    assert.match((await assay('why', 'node-1')).out, /^node-1 is trusted \(trial: identity, boot\)$/m);
    assert.match((await assay('history', 'node-1')).out, / trusted \(trial\) /);
    assert.match((await assay('status')).out, /^Trial: +\S/m);
  });

  it('has its bundles say so to whoever judges them again', async () => {
    const file = join(folder, 'node-1.json');
    assert.equal((await assay('bundle', 'node-1', '-f', file)).code, 0);
    const judged = async (...more: readonly string[]) => {
      const { out, code } = await assay('verify', file, '-o', 'json', ...more);
      const { state, trial, earStatus } = JSON.parse(out);
      return { code, state, trial, earStatus };
    };
    const ofTrial = { code: 0, state: 'trusted', trial: true, earStatus: 'warning' };
    assert.deepEqual(await judged(), ofTrial);
    // A policy of one's own makes no proof of it.
    assert.deepEqual(
      await judged('--policy', join(folder, 'policy.yaml'), '--trust-roots', join(world.stateDir, 'roots')),
      ofTrial,
    );
    assert.match((await assay('verify', file, '-o', 'junit')).out, /name="state">\s*<skipped /);
  });

  it('would hold another policy as well', async () => {
    const text = policy.replace(
      'mode: observe, enrolment: [first-use, approval], require: [identity]',
      'mode: label, require: [identity, boot], enrolment: [pin]',
    );
    assert.deepEqual(
      parsePolicy(text, 'other', plainEnrolments).groups.map(({ mode }) => mode),
      ['label', 'enforce'],
    );
    const { items } = simulateAnswer.parse(
      await world.call('POST', '/v1/policy/simulate', { policy: text, file: 'other' }),
    );
    assert.deepEqual(
      items.map(({ after }) => after?.mode),
      ['observe', 'observe'],
    );
  });

  describe('that is none any more', () => {
    before(async () => {
      isOnTrial = false;
      await world.restart();
    });

    it('trusts nothing that enrolled then, from its first moment on, and says what to do', async () => {
      for (const node of ['node-1', 'early-1']) {
        const { state, reason, trustedAt, mode, reasons } = await shown(node);
        assert.deepEqual([state, reason, trustedAt], ['pending', 'trial_enrolment', null], node);
        assert.equal(mode, 'observe');
        assert.match(
          reasons[0]?.next ?? '',
          new RegExp(`^ {2}assay enrol approve ${node} --ek [0-9a-f]{64}$`, 'm'),
        );
      }
      const { trial, held } = await status();
      assert.equal(trial, false);
      assert.deepEqual(
        held.map(({ node, code, next }) => [node, code, next]),
        [
          ['early-1', 'trial_enrolment', `assay enrol approve early-1 --ek ${early.ekDigest}`],
          ['node-1', 'trial_enrolment', `assay enrol approve node-1 --ek ${tpm.ekDigest}`],
        ],
      );
      assert.equal(await world.metric('assay_trial'), 0);
    });

    it('refuses it when it comes, and shows that it waits', async () => {
      await assertRefused(world, 'node-1', 'trial_enrolment', () => introduce(world, tpm, 'node-1'));
      // A gate comes by the same door.
      const gate = await dial(world);
      gate.send({ ...tpm.hello('node-1'), role: 'gate' });
      assert.equal((await gate.receive())?.code, 'trial_enrolment');
      await gate.close();
      const { out } = await assay('enrol', 'list');
      assert.match(out, new RegExp(`^node-1 +${tpm.ekDigest} `, 'm'));
      assert.equal((await shown('node-1')).reason, 'trial_enrolment');
    });

    it('approves none of it with all that enrolled by first use', async () => {
      const { out, code } = await assay('enrol', 'approve', '--all', '--yes');
      assert.equal(code, 0);
      assert.match(out, /^0 bindings/);
      // Nor where somebody names it there.
      const bindings = [{ node: 'early-1', ek: early.ekDigest }];
      assert.deepEqual(await world.call('POST', '/v1/enrolments/approve-all', { bindings }), {
        approved: [],
      });
      await assertRefused(world, 'early-1', 'trial_enrolment', () => introduce(world, early, 'early-1'));
    });

    it('takes what a person approves, by its key alone, and nothing of it is of a trial since', async () => {
      const other = await assay('enrol', 'approve', 'node-1', '--ek', 'a'.repeat(64));
      assert.notEqual(other.code, 0);
      assert.equal((await assay('enrol', 'approve', 'node-1', '--ek', tpm.ekDigest)).code, 0);
      assert.equal(await prove('node-1', tpm), 'trusted');
      const { state, trial, mode, bound, enrolledBy } = await shown('node-1');
      assert.deepEqual(
        { state, trial, mode, bound, enrolledBy },
        { state: 'trusted', trial: false, mode: 'enforce', bound: 'approval', enrolledBy: 'token:admin' },
      );
      const approved = (await world.audit()).filter(
        ({ action, subject }) => action === 'enrol.approve' && subject === 'node-1',
      );
      assert.deepEqual(
        approved.map(({ actor, detail }) => [actor, detail.was]),
        [['token:admin', 'trial']],
      );
      assert.deepEqual(
        (await status()).held.map(({ node }) => node),
        ['early-1'],
      );
    });

    it('stays so over a start, and a trial that begins anew marks what counted before', async () => {
      await world.restart();
      assert.equal((await shown('node-1')).state, 'trusted');
      assert.equal((await shown('early-1')).reason, 'trial_enrolment');
      isOnTrial = true;
      await world.restart();
      assert.equal(await prove('early-1', early), 'trusted');
      assert.equal(await prove('node-1', tpm), 'trusted');
      const { trial, mode } = await shown('node-1');
      assert.deepEqual({ trial, mode }, { trial: true, mode: 'observe' });
      // It enrolled outside of a trial, and a person vouched for it: it is good when the trial is over.
      isOnTrial = false;
      await world.restart();
      assert.equal(await prove('node-1', tpm), 'trusted');
      assert.equal((await shown('node-1')).trial, false);
    });
  });
});
