import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { referenceView } from '../../../attest-server/api/api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { captureTrial } from '../../../attest-server/api/policy-api.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { type ForgedFleet, startForgedFleet } from './forged-fleet.ts';

const good = recordedLog('debian13-sdboot-entry');
const changed = tamper(good, 'cmdline');

/** Each test goes on where the one before it ended. */
describe('a capture of a node against which something stands', () => {
  let fleet: ForgedFleet;
  const boots = { 'node-1': good, 'node-2': changed, 'node-3': changed, 'node-4': good };
  before(async () => {
    fleet = await startForgedFleet(boots);
  });
  after(() => fleet?.[Symbol.asyncDispose]());

  async function assay(words: readonly string[], answer?: string) {
    const { world } = fleet;
    const asked: string[] = [];
    const ask = async (question: string) => {
      asked.push(question);
      return answer ?? '';
    };
    const ran = await runAssay(words, {
      env: world.env(),
      cwd: world.stateDir,
      ask: answer === undefined ? null : ask,
    });
    return { ...ran, asked: asked.length };
  }
  const names = async () =>
    listOf(referenceView)
      .parse(await fleet.world.call('GET', '/v1/references'))
      .items.map(({ name }) => name);
  const capture = ['reference', 'capture', 'node-2', '--name', 'bad'];

  it('is none where nobody vouched for any: the first one asks nothing', async () => {
    for (const node of fleet.nodes) assert.equal(await fleet.answer(node), 'pending');
    const { code, err } = await assay(['reference', 'capture', 'node-1', '--name', 'good']);
    assert.equal(code, 0, err);
    assert.equal(await fleet.answer('node-1'), 'trusted');
    for (const node of ['node-2', 'node-3']) assert.equal(await fleet.answer(node), 'untrusted');
  });

  it('is not what a command prints to be typed: it is staged, and approved (row 397)', async () => {
    const { out } = await assay(['why', 'node-2']);
    const printed = out.split('\n').filter((line) => /assay reference (?:capture|approve)/.test(line));
    assert.match(printed[0] ?? '', / assay reference capture node-2 --name (\S+) --staged$/);
    assert.match(printed[1] ?? '', / assay reference approve \S+ --reason "/);
    assert.equal(printed.length % 2, 0);
    assert(printed.every((line) => line.includes('approve') || line.endsWith('--staged')));
  });

  it('shows what is new and who turns trusted, and needs a reason and a yes (row 397)', async () => {
    const typed = await assay(capture);
    assert.deepEqual([typed.code, typed.out], [2, '']);
    assert.match(typed.err, /node-2 is untrusted\n.*cmdline_policy.*\n +new command line +.*init=/s);
    assert.match(typed.err, /2 nodes would turn trusted by it: node-2 and node-3\n/);
    assert.match(typed.err, /nothing was captured/);
    const reason = ['--reason', 'rescue shells are wanted'];
    const alone = await assay([...capture, ...reason]);
    assert.deepEqual([alone.code, alone.asked], [2, 0]);
    const without = await assay([...capture, '--yes']);
    assert.equal(without.code, 2);
    const no = await assay([...capture, ...reason], 'n');
    assert.deepEqual([no.code, no.asked], [1, 1]);
    const dry = await assay([...capture, '--dry-run']);
    assert.equal(dry.code, 0);
    assert.match(dry.out, /^would make reference bad .*2 nodes would turn trusted by it/s);
    assert.deepEqual(await names(), ['good']);
  });

  it('is refused by the server of whoever sends no reason (row 398)', async () => {
    const { world } = fleet;
    const asked = { node: 'node-2', name: 'bad' };
    await assert.rejects(
      world.call('POST', '/v1/references', asked),
      /409.*more than no_reference stands against node-2 \(cmdline_policy\).*give a reason; or capture it staged/,
    );
    await assert.rejects(world.call('POST', '/v1/references', { ...asked, reason: '' }), /400/);
    // One good node among them vouches for no other.
    const both = { nodes: ['node-1', 'node-2'], name: 'bad' };
    await assert.rejects(world.call('POST', '/v1/references', both), /409/);
    assert.deepEqual(await names(), ['good']);
    await world.call('POST', '/v1/references', { ...asked, name: 'staged', staged: true });
    assert.equal(await fleet.answer('node-3'), 'untrusted');
  });

  it('is refused where the node shows something else than was shown (row 399)', async () => {
    const { world } = fleet;
    const asked = { node: 'node-2', name: 'bad' };
    const shown = captureTrial.parse(await world.call('POST', '/v1/references/capture/simulate', asked));
    assert.match(shown.digest, /^[0-9a-f]{64}$/);
    boots['node-2'] = tamper(good, 'kernel');
    assert.equal(await fleet.answer('node-2'), 'untrusted');
    const consented = { ...asked, reason: 'wanted', shown: shown.digest };
    await assert.rejects(world.call('POST', '/v1/references', consented), /409.*is not what was shown/);
    boots['node-2'] = changed;
    assert.equal(await fleet.answer('node-2'), 'untrusted');
    assert.deepEqual(await names(), ['good', 'staged']);
  });

  it('is written down with its reason and what was new (row 397)', async () => {
    const { world } = fleet;
    const yes = await assay([...capture, '--reason', 'rescue shells are wanted'], 'y');
    assert.deepEqual([yes.code, yes.asked], [0, 1], yes.err);
    const entry = (await world.audit()).find(({ subject }) => subject === 'bad');
    assert.equal(entry?.detail.reason, 'rescue shells are wanted');
    assert.equal(entry?.detail.against, 'node-2: cmdline_policy');
    assert.match(String(entry?.detail.new), /command line .*init=/);
    assert.equal(await fleet.answer('node-3'), 'trusted');
  });

  it('is none of a node that is like a reference in force', async () => {
    assert.equal(await fleet.answer('node-4'), 'trusted');
    const { code, asked } = await assay(['reference', 'capture', 'node-4', '--name', 'again']);
    assert.deepEqual([code, asked], [0, 0]);
  });
});

describe('a capture for another group than that of the node', () => {
  it('asks where that group has references and none is like it, and not where it has none (row 347)', async () => {
    const groups = [
      'name: first\n    nodes: [first-1]\n    mode: observe\n    require: [identity]',
      'name: workers\n    nodes: ["*"]\n    mode: enforce\n    require: [identity, boot]',
    ];
    const folder = await mkdtemp(join(tmpdir(), 'assay-capture-'));
    await using cleaning = new AsyncDisposableStack();
    cleaning.defer(() => rm(folder, { recursive: true }));
    const policy = join(folder, 'policy.yaml');
    await writeFile(
      policy,
      `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n${groups.map((group) => `  - ${group}\n    enrolment: [pin]\n`).join('')}`,
    );
    await using fleet = await startForgedFleet({ 'first-1': changed, 'node-1': good }, { policy });
    const { world } = fleet;
    const asked = { node: 'first-1', group: 'workers' };
    const post = (more: object) => world.call('POST', '/v1/references', { ...asked, ...more });
    assert.equal(await fleet.answer('first-1'), 'trusted');
    await post({ name: 'of-nobody' });
    await world.call('POST', '/v1/references/of-nobody/retire', { reason: 'tried' });
    assert.equal(await fleet.answer('node-1'), 'pending');
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    assert.equal(await fleet.answer('node-1'), 'trusted');
    await assert.rejects(post({ name: 'other' }), /409.*stands against first-1 \(cmdline_policy\)/);
    await post({ name: 'other', reason: 'the next release' });
  });
});
