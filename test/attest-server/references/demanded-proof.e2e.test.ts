import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { captureTrial } from '../../../attest-server/api/policy-api.ts';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { reference } from '../../../attest-server/formats/reference.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { aggregateEntry } from '../../../swtpm-fixtures/ima-list.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce } from '../attacker.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

/** A real boot of systemd-boot: it hands the kernel an initrd by a line of the entry, and measures nothing of it. */
const log = recordedLog('debian13-sdboot-entry');

/** PCRs as the good boot leaves them, and the list of a kernel that found these, or another PCR 9, when it started. */
function booted(isGood: boolean) {
  const found = replayedValues(log, 'sha256');
  if (!isGood) found.fill(9, 9 * 32, 10 * 32);
  const values = replayedValues(log, 'sha256');
  const { bytes, digests } = aggregateEntry('sha256', found);
  const pcr10 = values.subarray(320, 352);
  hash('sha256', Buffer.concat([pcr10, digests.sha256]), 'buffer').copy(pcr10);
  return { values, list: bytes };
}

/** Each test goes on where the one before it ended. */
describe('a proof that a captured boot gave, over real connections', () => {
  let world: TestServer;
  const tpms = { honest: forgedTpm(), attacked: forgedTpm(), late: forgedTpm() };
  before(async () => {
    world = await startTestServer();
    for (const [node, { ekDigest }] of Object.entries(tpms)) await world.pin(node, ekDigest);
  });
  after(() => world?.[Symbol.asyncDispose]());

  /** One answer of a node; one that was attacked withholds the list of its kernel, and says nothing of it. */
  async function answer(node: keyof typeof tpms, shows = node === 'honest'): Promise<string> {
    const tpm = tpms[node];
    const { values, list } = booted(node !== 'attacked');
    const peer = await introduce(world, tpm, node);
    const challenge = await peer.challenge();
    const parts = shows && challenge.parts?.includes('ima') ? { ima: list } : {};
    for (const bytes of [log, ...Object.values(parts)])
      if (!challenge.holds.includes(hash('sha256', bytes))) peer.send(binaryFrame('part', bytes));
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog: log };
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs: { sha256: values } });
    peer.send(tpm.evidenceOfParts(challenge, occasion, parts, quote));
    const { state, codes } = await peer.verdict();
    await peer.close();
    const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    const { verdict } = verifyBundle(bundle, { now: 0 });
    assert.deepEqual([verdict.state, verdict.reasons.map(({ code }) => code)], [state, codes]);
    return [state, ...codes].join(', ');
  }

  const assay = (line: string) => runAssay(line.split(' '), { env: world.env(), cwd: world.stateDir });
  const names = async () => (await world.store.references.list()).map(({ name }) => name);

  it('is not demanded by a reference of before, so that no node turns by an upgrade', async () => {
    assert.equal(await answer('honest'), 'pending, no_reference');
    const { code } = await assay('reference capture honest --name old --no-aggregate');
    assert.equal(code, 0);
    assert.equal(await answer('honest'), 'trusted');
    assert.equal(await answer('attacked'), 'trusted, facts_unavailable');
  });

  it('has capture name the nodes that do not give it, before anything is stored', async () => {
    const trial = captureTrial.parse(
      await world.call('POST', '/v1/references/capture/simulate', { node: 'honest', name: 'new' }),
    );
    assert.deepEqual(
      trial.items.map(({ node, before, after: then }) => [node, before?.state, then?.state]),
      [['attacked', 'trusted', 'pending']],
    );
    assert.deepEqual(
      trial.references.map(({ name, aggregate }) => [name, aggregate]),
      [['new', 'required']],
    );
    const refused = await assay('reference capture honest --name new');
    assert.equal(refused.code, 2);
    assert.match(refused.err, /1 would turn pending: attacked\n/);
    const tried = await assay('reference capture honest --name new --dry-run');
    assert.equal(tried.code, 0);
    assert.deepEqual(await names(), ['old']);
  });

  it('is demanded then: who withholds the list from the first answer on is pending (row 340)', async () => {
    assert.equal((await assay('reference capture honest --name new --yes')).code, 0);
    assert.equal(await answer('honest'), 'trusted');
    assert.equal(await answer('attacked'), 'pending, facts_unavailable');
    const status = await world.status('attacked');
    const [reason] = status?.verdict?.reasons ?? [];
    assert.deepEqual([reason?.actual, reason?.class], ['the node sent no IMA list', 'service']);
    assert.match(reason?.text ?? '', /References? .*new/);
    assert.equal(await world.metric('assay_node_trusted{node="attacked"}'), 0);
  });

  it('is demanded after a restart, of the list that is shown then, and by what was exported and imported', async () => {
    await world.restart();
    assert.equal(await answer('attacked'), 'pending, facts_unavailable');
    const exported = reference.parse(await world.call('GET', '/v1/references/new'));
    assert.equal(exported.aggregate, 'required');
    for (const name of ['old', 'new'])
      await world.call('POST', `/v1/references/${name}/retire`, { reason: 'another one comes' });
    await world.call('POST', '/v1/references/import', { ...exported, name: 'imported' });
    assert.equal(await answer('attacked'), 'pending, facts_unavailable');
    assert.equal(await answer('honest', false), 'trusted');
    assert.match(await answer('attacked', true), /^untrusted, boot_remeasured/);
  });

  it('is remembered of an earlier answer of the boot, whose list was not sent again', async () => {
    assert.equal(await answer('honest', false), 'trusted');
    assert.equal((await assay('reference capture honest --name later --staged')).code, 0);
    const made = reference.parse(await world.call('GET', '/v1/references/later'));
    assert.equal(made.aggregate, 'required');
  });

  it('is told not to be demanded where the captured node did not give it', async () => {
    await world.call('POST', '/v1/references/imported/retire', { reason: 'another one comes' });
    assert.equal(await answer('late', false), 'pending, no_reference');
    const { code, err } = await assay('reference capture late --name unproven');
    assert.equal(code, 0);
    assert.match(err, /late has not proven .*unproven demands that of no node/);
  });
});
