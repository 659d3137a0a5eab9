import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { type ReferenceCandidates, referenceCandidates } from '../../../attest-server/api/candidates-api.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { type ForgedFleet, startForgedFleet } from './forged-fleet.ts';

const good = recordedLog('debian13-sdboot-uki');
const updated = tamper(good, 'kernel');
const boots = {
  'node-1': good,
  'node-2': good,
  'node-3': updated,
  'node-4': updated,
  'node-5': recordedLog('debian13-efistub'),
  'node-6': recordedLog('centos9-shim-grub'),
};

describe('what nodes boot and no reference has', () => {
  let fleet: ForgedFleet;
  before(async () => {
    fleet = await startForgedFleet(boots);
    const { world } = fleet;
    await answerAll();
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'base' });
    await world.call('POST', '/v1/references', { node: 'node-6', name: 'bad', staged: true });
    await world.call('POST', '/v1/references/bad/revoke', { reason: 'stolen' });
    await answerAll();
  });
  after(() => fleet?.[Symbol.asyncDispose]());

  async function answerAll(): Promise<void> {
    for (const node of fleet.nodes) await fleet.answer(node);
  }
  const candidates = async (query = ''): Promise<ReferenceCandidates> =>
    referenceCandidates.parse(await fleet.world.call('GET', `/v1/references/candidates${query}`));
  function assay(line: string, role: 'admin' | 'reader' = 'admin') {
    const env = fleet.world.env(`${role}.token`);
    // As a shell would take the words of a command that was printed.
    const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
    return runAssay(words, { env, now: Date.now });
  }
  const nodesOf = ({ items }: ReferenceCandidates) => items.map(({ nodes }) => nodes.join(' '));

  it('is grouped, those of most nodes first, without nodes that boot what was revoked (row 187)', async () => {
    const found = await candidates();
    assert.deepEqual(nodesOf(found), ['node-3 node-4', 'node-5']);
    assert.deepEqual([found.nodes, found.unknown, found.more], [6, 3, { candidates: 0, nodes: 0 }]);
    assert.deepEqual(found.held, [{ node: 'node-6', codes: ['revoked_reference'] }]);
    const [kernel] = found.items;
    assert.deepEqual([kernel?.codes, kernel?.step, kernel?.knownBy], [['kernel_unknown'], 'capture', null]);
    assert.deepEqual(
      kernel?.things.map(({ what }) => what),
      ['kernel'],
    );
    assert.ok(kernel.lastSeen !== null && kernel.firstSeen < kernel.lastSeen);
  });

  it('is the same after a restart, when no node has answered yet', async () => {
    const before = await candidates();
    await fleet.world.restart();
    assert.deepEqual(await candidates(), before);
  });

  it('is said in one sentence, to a reader, too, and chosen by group and kind', async () => {
    const { code, out } = await assay('reference candidates', 'reader');
    assert.equal(code, 0);
    assert.match(out, /^3 of 6 nodes boot 2 things that no reference has$/m);
    assert.match(out, /^not offered: 1 node is held for other reasons: node-6 \(revoked_reference\)$/m);
    const rules = await assay('reference candidates --kind firewall', 'reader');
    assert.deepEqual([rules.code, rules.out], [0, '0 of 6 nodes show anything that no reference has\n']);
    assert.equal((await assay('reference candidates --kind kernel')).code, 2);
    const wrong = await assay('reference candidates --group defualt');
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /there is no group defualt.*default/);
    const json = await assay('reference candidates --group default -o json', 'reader');
    assert.deepEqual(referenceCandidates.parse(JSON.parse(json.out)), await candidates('?group=default'));
  });

  it('has for each the command that stages it, then the one that approves it, and then it is known', async () => {
    const command = (found: ReferenceCandidates) => found.items[0]?.command ?? assert.fail();
    const capture = command(await candidates());
    const staged = await assay(capture.replace(/^assay /, ''));
    assert.equal(staged.code, 0);
    await answerAll();
    const found = await candidates();
    const [kernel] = found.items;
    assert.deepEqual([kernel?.nodes, kernel?.step], [['node-3', 'node-4'], 'approve']);
    const name = kernel?.knownBy?.name ?? assert.fail();
    assert.match(capture, new RegExp(` --name ${name} --staged$`));
    const why = await assay('why node-4');
    assert.ok(why.out.includes(command(found)), why.out);
    assert.equal((await assay(`${command(found).replace(/^assay /, '')} --yes`)).code, 0);
    assert.equal(await fleet.answer('node-4'), 'trusted');
    // It was in force already when its node had not answered yet: no second reference is made of that.
    const late = await candidates();
    assert.deepEqual(
      late.items.filter(({ nodes }) => nodes.includes('node-3')).map(({ step }) => step),
      [null],
    );
    await answerAll();
    assert.deepEqual(nodesOf(await candidates()), ['node-5']);
  });

  it('names no reference by the word of its route', async () => {
    await assert.rejects(
      fleet.world.call('POST', '/v1/references', { node: 'node-1', name: 'candidates' }),
      /409/,
    );
  });
});
