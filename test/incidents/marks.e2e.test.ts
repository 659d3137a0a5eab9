import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { type ForgedSite, openForgedSite } from '../attest-server/marking/forged-site.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { assay, follow, investigate, type Night } from './night.ts';

const workers = ['node-1', 'node-2', 'node-3', 'node-4'];
/** It tries the next kernel. */
const lab = 'lab-1';
const goodBoot = recordedLog('debian13-sdboot-uki');
const nextBoot = tamper(goodBoot, 'kernel');

/** Each test goes on where the one before it ended. */
describe('incidents: a wrong reference at night', function () {
  this.timeout(120_000);
  let site: ForgedSite;
  let night: Pick<Night, 'assay'>;
  const tainted = new Set<string>();
  const done = async (...words: readonly string[]) => {
    const { code, stdout, stderr } = await night.assay(...words);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const workersAnswer = async (state: string) => {
    for (const node of workers) assert.equal(await site.answer(node, goodBoot, 7), state);
  };
  before(async () => {
    site = await openForgedSite();
    const { world, api } = site;
    night = { assay: (...words) => assay(world, words) };
    for (const node of [...workers, lab]) await site.add(node);
    for (const node of [...workers, lab]) await site.reaches(node, 'pending Unknown');
    await site.answer('node-1', goodBoot, 7);
    await done('reference', 'capture', 'node-1', '--name', 'good-boot');
    await workersAnswer('trusted');
    assert.equal(await site.answer(lab, nextBoot, 7), 'untrusted');
    for (const node of workers) await site.reaches(node, 'label True');
    await site.reaches(lab, 'untrusted=kernel_unknown False');
    api.store.listen(({ table }) => {
      if (table !== '/nodes') return;
      for (const node of workers) if (site.marksOf(node).includes('untrusted')) tainted.add(node);
    });
  });
  after(() => site?.[Symbol.asyncDispose]());

  it('takes the label from every worker, and the taints wait for a person (row 67)', async () => {
    await done('reference', 'capture', lab, '--name', 'next-kernel', '--staged');
    await done('reference', 'approve', 'next-kernel', '--reason', 'the roll-out begins', '--yes');
    await done('reference', 'retire', 'good-boot', '--reason', 'the roll-out is over', '--yes');
    await workersAnswer('untrusted');
    for (const node of workers) await site.reaches(node, 'False');
    await site.world.until(async () => (await night.assay('breaker', 'list')).code === 12);
    assert.deepEqual([...tainted], []);
  });

  it('says in two commands what waits, whose mistake it was, and what to type', async () => {
    await investigate(night, {
      steps: [['breaker', 'list']],
      cause: ['workers', 'kernel_unknown', 'open'],
      next: [],
    });
    const shown = await investigate(night, {
      steps: [
        ['breaker', 'list'],
        ['why', 'node-1'],
      ],
      cause: [
        'kernel_unknown',
        /matches reference good-boot, but \S+ retired it on .* \(the roll-out is over\)/,
      ],
      next: ['assay reference approve good-boot'],
    });
    assert.match(
      (await night.assay('get', 'nodes')).stderr,
      /^4 nodes are untrusted by kernel_unknown, because of a change of ours \(references\)\. The way back:\n {2}assay why node-1$/m,
    );
    await done('breaker', 'hold', '--reason', 'good-boot was retired by mistake');
    const { stdout } = await night.assay('breaker', 'list');
    assert.match(stdout, /held .*good-boot was retired by mistake/);
    await follow(night, shown, 'assay reference approve', '--yes');
  });

  it('gives every worker its label back, and none was ever tainted', async () => {
    await done('reference', 'retire', 'next-kernel', '--reason', 'approved by mistake', '--yes');
    await workersAnswer('trusted');
    for (const node of workers) await site.reaches(node, 'label True');
    assert.deepEqual([...tainted], []);
    const actions = (await site.world.audit()).map(({ action }) => action);
    assert.ok(actions.includes('breaker.open') && actions.includes('breaker.hold'), actions.join());
  });

  it('taints where a person says that it is an attack after all', async () => {
    for (const node of workers) assert.equal(await site.answer(node, nextBoot, 8), 'untrusted');
    await site.world.until(async () => (await night.assay('breaker', 'list')).code === 12);
    assert.deepEqual([...tainted], []);
    const shown = await investigate(night, {
      steps: [
        ['get', 'nodes'],
        ['why', 'node-1'],
      ],
      cause: ['kernel_unknown', /\d nodes fail the same way/, 'because many nodes fail the same way'],
      next: ['assay reference candidates --group workers', 'assay breaker list'],
    });
    await follow(night, shown, 'assay reference candidates');
    assert.match((await night.assay('get', 'nodes')).stderr, /^ {2}assay reference candidates$/m);
    await done('breaker', 'release', '--reason', 'nobody installed that kernel', '--yes');
    for (const node of workers) await site.reaches(node, 'untrusted=kernel_unknown False');
    assert.equal((await night.assay('breaker', 'list')).code, 0);
  });
});
