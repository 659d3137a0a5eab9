import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { type KeptDecisions, loadDecisions } from '../../../attest-server/marking/decisions.ts';
import type { Hold } from '../../../attest-server/marking/ports.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { openMadeStore } from '../store/made-store.ts';

const open: Hold = {
  group: 'workers',
  code: 'kernel_unknown',
  value: null,
  at: 5,
  decision: 'open',
  by: null,
  reason: null,
};

describe('what people decided', () => {
  let store: Store;
  let decisions: KeptDecisions;
  let now = 0;
  let told: (string | null)[];
  const load = async () => {
    decisions = await loadDecisions({ store: store.marking, now: () => now });
    decisions.onChange((node) => void told.push(node));
  };
  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    [now, told] = [1000, []];
    await load();
  });
  afterEach(() => store[Symbol.asyncDispose]());

  const entries = () => store.audit.entries({ limit: 100 });
  const said = async () =>
    (await entries()).map(({ actor, action, subject }) => `${actor} ${action} ${subject}`);

  it('pauses and resumes, and says by whom and why', async () => {
    await decisions.setPause('token:alice', 'a wrong reference');
    assert.deepEqual(decisions.pause(), { by: 'token:alice', reason: 'a wrong reference', at: 1000 });
    await load();
    assert.equal(decisions.pause()?.by, 'token:alice');
    assert.equal(await decisions.resume('token:bob'), true);
    assert.equal(await decisions.resume('token:bob'), false);
    assert.equal(decisions.pause(), null);
    assert.deepEqual(await said(), ['token:alice cluster.pause cluster', 'token:bob cluster.resume cluster']);
    assert.deepEqual((await entries())[1]?.detail, { pausedBy: 'token:alice', reason: 'a wrong reference' });
  });

  it('ends an exemption by the clock in the same moment, and notes that once', async () => {
    await decisions.exempt({ node: 'node-1', reason: 'a demo', by: 'token:alice', until: 2000 });
    assert.equal(decisions.exemption('node-1')?.until, 2000);
    assert.equal(decisions.exemption('node-2'), null);
    now = 1999;
    await decisions.endDue();
    assert.equal(decisions.exemptions().length, 1);
    now = 2000;
    assert.equal(decisions.exemption('node-1'), null);
    assert.deepEqual(decisions.exemptions(), []);
    await decisions.endDue();
    await decisions.endDue();
    assert.deepEqual(await said(), ['token:alice exempt node-1', 'server exempt.end node-1']);
    assert.deepEqual(told, ['node-1', 'node-1']);
    assert.equal((await entries())[0]?.detail.until, '1970-01-01T00:00:02.000Z');
  });

  it('tells that an exemption is over although that cannot be stored', async () => {
    await decisions.exempt({ node: 'node-1', reason: 'a demo', by: 'token:alice', until: 2000 });
    const failing = {
      ...store.marking,
      removeExemption: async () => Promise.reject(new Error('the disk is full')),
    };
    const without = await loadDecisions({ store: failing, now: () => now });
    const toldThere: (string | null)[] = [];
    without.onChange((node) => toldThere.push(node));
    now = 2000;
    await assert.rejects(without.endDue(), /disk is full/);
    assert.deepEqual(toldThere, ['node-1']);
    assert.equal(without.exemption('node-1'), null);
  });

  it('ends after a new start what was over while the server was down', async () => {
    await decisions.exempt({ node: 'node-1', reason: 'a demo', by: 'token:alice', until: 2000 });
    now = 5000;
    await load();
    assert.equal(decisions.exemption('node-1'), null);
    await decisions.endDue();
    assert.deepEqual((await said()).at(-1), 'server exempt.end node-1');
    assert.deepEqual(await store.marking.exemptions(), []);
  });

  it('lets a person end an exemption before its time, and replace it', async () => {
    await decisions.exempt({ node: 'node-1', reason: 'a demo', by: 'token:alice', until: 2000 });
    await decisions.exempt({ node: 'node-1', reason: 'a longer one', by: 'token:bob', until: 9000 });
    assert.equal(decisions.exemption('node-1')?.reason, 'a longer one');
    assert.equal(await decisions.endExemption('node-1', 'token:bob'), true);
    assert.equal(await decisions.endExemption('node-1', 'token:bob'), false);
    assert.equal(decisions.exemption('node-1'), null);
  });

  it('holds what the breaker opens, once, never instead of what a person holds, and anew what failed after a release', async () => {
    await Promise.all([decisions.hold(open), decisions.hold({ ...open, at: 6 })]);
    assert.deepEqual(decisions.holds(), [open]);
    await decisions.decide('held', { groups: [], code: null }, { by: 'token:alice', reason: 'wait' });
    await decisions.hold({ ...open, at: 7 });
    assert.deepEqual(decisions.holds(), [{ ...open, decision: 'held', by: 'token:alice', reason: 'wait' }]);
    await decisions.decide('released', { groups: [], code: null }, { by: 'token:alice', reason: 'right' });
    await decisions.hold({ ...open, at: 8 });
    assert.deepEqual(decisions.holds(), [{ ...open, at: 8 }]);
    await load();
    assert.equal(decisions.holds()[0]?.decision, 'open');
    assert.deepEqual(await said(), [
      'server breaker.open workers',
      'token:alice breaker.hold workers',
      'token:alice breaker.release workers',
      'server breaker.open workers',
    ]);
  });

  it('decides about the holds that a person means, and says which', async () => {
    const initrd = { ...open, code: 'initrd_unknown' };
    const gpu = { ...open, group: 'gpu' };
    for (const hold of [open, initrd, gpu]) await decisions.hold(hold);
    const person = { by: 'token:alice', reason: 'the night' };
    const held = await decisions.decide('held', { groups: ['workers'], code: 'initrd_unknown' }, person);
    assert.deepEqual(held, [{ ...initrd, decision: 'held', ...person }]);
    assert.deepEqual(await decisions.decide('held', { groups: ['none'], code: null }, person), []);
    const released = await decisions.decide('released', { groups: ['workers'], code: null }, person);
    assert.equal(released.length, 2);
    assert.equal(decisions.holds().find(({ group }) => group === 'gpu')?.decision, 'open');
    await decisions.end([gpu, gpu]);
    assert.equal(decisions.holds().length, 2);
    assert.equal((await said()).filter((line) => line === 'server breaker.close gpu').length, 1);
  });

  it('holds although the hold cannot be stored: what cannot be kept holds all the more', async () => {
    const failing = {
      ...store.marking,
      saveHolds: async () => Promise.reject(new Error('the disk is full')),
    };
    decisions = await loadDecisions({ store: failing, now: () => now });
    await assert.rejects(decisions.hold(open), /disk is full/);
    assert.deepEqual(decisions.holds(), [open]);
    await assert.rejects(
      decisions.decide('released', { groups: [], code: null }, { by: 'token:a', reason: 'r' }),
    );
    assert.equal(decisions.holds()[0]?.decision, 'open');
  });

  it('keeps the latch with its audit entry, and never lets it shrink', async () => {
    await decisions.setLatch({ groups: ['workers'], by: 'token:admin', at: 1000 }, 'trust.enable');
    await assert.rejects(
      decisions.setLatch({ groups: ['gpu'], by: 'token:admin', at: 1000 }, 'trust.enable'),
      /never shrinks/,
    );
    assert.deepEqual(decisions.latch()?.groups, ['workers']);
    const [entry] = await entries();
    assert.deepEqual(
      [entry?.action, entry?.code, entry?.detail],
      ['trust.enable', 'latched', { groups: 'workers' }],
    );
  });
});
