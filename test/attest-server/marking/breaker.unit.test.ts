import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Breaker, breakerWindow, opensAt, tenthOf } from '../../../attest-server/marking/breaker.ts';
import type { Drift } from '../../../attest-server/marking/judged-node.ts';
import type { Hold } from '../../../attest-server/marking/ports.ts';

const group = { name: 'workers' };
const minute = 60_000;
const kernel = { code: 'kernel_unknown', value: 'kernel sha256:aa' } as const;

/** A group of so many healthy nodes, and its breaker. */
function groupOf(nodes: number, onExpiry: 'hold' | 'taint' = 'hold') {
  const breaker = new Breaker({ onExpiry });
  const trustedAt = new Map<string, number>();
  const nameOf = (index: number) => `node-${String(index).padStart(4, '0')}`;
  for (let i = 0; i < nodes; i++) set(nameOf(i), null, false, 0);
  function set(name: string, drift: Drift | null, isTainted: boolean, at: number): void {
    if (drift === null) trustedAt.set(name, at);
    breaker.set(
      name,
      {
        group,
        drift,
        isTainted,
        mayBeTainted: true,
        ekDigest: name,
        trustedAt: trustedAt.get(name) ?? null,
      },
      at,
    );
  }
  /** It fails; is it tainted then? Where it may be, it is. */
  const fail = (index: number, at: number, drift: Parameters<typeof set>[1] = kernel) => {
    const name = nameOf(index);
    set(name, drift, false, at);
    const delay = breaker.delayOf(name, at);
    if (delay === null) {
      breaker.grant(name, at);
      set(name, drift, true, at);
    }
    return delay;
  };
  const heal = (index: number, at: number) => set(nameOf(index), null, false, at);
  const hold = (
    decision: Hold['decision'],
    drift: { code: string; value: string | null } = kernel,
  ): Hold => ({
    group: group.name,
    ...drift,
    at: 0,
    decision,
    by: decision === 'open' ? null : 'token:admin',
    reason: decision === 'open' ? null : 'seen',
  });
  return { breaker, fail, heal, hold, nameOf };
}

describe('the breaker', () => {
  it('opens at three nodes or a fifth, lets a tenth be tainted, and carries no more', () => {
    assert.deepEqual([1, 3, 15, 16, 100].map(opensAt), [3, 3, 3, 3.2, 20]);
    assert.deepEqual([1, 9, 10, 19, 100].map(tenthOf), [1, 1, 1, 1, 10]);
  });

  it('stays closed where one node of three is tampered with (row 102)', () => {
    const { breaker, fail } = groupOf(3);
    assert.equal(fail(0, minute), null);
    assert.deepEqual(breaker.opened(minute), []);
    assert.equal(breaker.failing(minute)[0]?.isMass, false);
  });

  it('holds the taints of a fleet that a wrong reference breaks (row 67)', () => {
    const { breaker, fail } = groupOf(100);
    const delays = Array.from({ length: 100 }, (_, index) => fail(index, minute + index));
    assert.equal(delays.filter((delay) => delay === null).length, 10);
    assert.equal(delays.at(-1), 'breaker');
    assert.deepEqual(breaker.opened(2 * minute), [{ group: 'workers', ...kernel }]);
    assert.deepEqual(breaker.ready(2 * minute), []);
    assert.equal(breaker.failing(2 * minute)[0]?.waiting, 90);
  });

  it('holds the taints of 21 of 100 nodes that fail on purpose, until a person decides (row 101)', () => {
    const { breaker, fail, hold } = groupOf(100);
    for (let i = 0; i < 21; i++) fail(i, minute);
    breaker.decide([hold('open')], minute);
    assert.deepEqual(breaker.ready(24 * 60 * minute), []);
    breaker.decide([hold('released')], 24 * 60 * minute);
    assert.equal(breaker.ready(24 * 60 * minute).length, 11);
  });

  it('takes a release for those that waited, and no others days later', () => {
    const { breaker, fail, hold, nameOf } = groupOf(100);
    for (let i = 0; i < 21; i++) fail(i, minute);
    breaker.decide([hold('released')], 5 * minute);
    for (const name of breaker.ready(5 * minute)) breaker.grant(name, 5 * minute);
    assert.equal(fail(30, 6 * minute), null);
    const later = 24 * 60 * minute;
    const delays = Array.from({ length: 30 }, (_, index) => fail(40 + index, later));
    assert.ok(delays.every((delay) => delay !== null));
    assert.deepEqual(breaker.opened(later), [{ group: 'workers', ...kernel }]);
    breaker.decide([hold('open')], later);
    assert.deepEqual(
      breaker.ready(later + minute).filter((name) => name >= nameOf(40)),
      [],
    );
    breaker.decide([hold('released')], later + 2 * minute);
    assert.equal(breaker.ready(later + 2 * minute).filter((name) => name >= nameOf(40)).length, 30);
  });

  it('gives way after half an hour where it is set so, within its limit (row 101)', () => {
    const { breaker, fail, hold } = groupOf(100, 'taint');
    for (let i = 0; i < 21; i++) fail(i, 0);
    breaker.decide([hold('open')], 0);
    assert.deepEqual(breaker.ready(29 * minute), []);
    assert.equal(breaker.ready(30 * minute).length, 10);
  });

  it('holds for good what a person holds', () => {
    const { breaker, fail, hold } = groupOf(100, 'taint');
    for (let i = 0; i < 21; i++) fail(i, 0);
    breaker.decide([hold('held')], 0);
    assert.deepEqual(breaker.ready(24 * 60 * minute), []);
    for (let i = 0; i < 21; i++) breaker.forget(`node-${String(i).padStart(4, '0')}`);
    breaker.ended(0);
    assert.deepEqual(breaker.ended(24 * 60 * minute), []);
  });

  it('lets no more than a tenth carry a taint, however slowly it goes (row 111)', () => {
    const { breaker, fail } = groupOf(40);
    const delays = Array.from({ length: 40 }, (_, index) => fail(index, index * 15 * minute));
    assert.equal(delays.filter((delay) => delay === null).length, 4);
    assert.equal(delays.at(-1), 'standing_cap');
    assert.deepEqual(breaker.opened(40 * 15 * minute), [{ group: 'workers', ...kernel }]);
  });

  it('puts a tenth in ten minutes, and the next when these are over', () => {
    const { breaker, fail } = groupOf(30);
    for (let i = 0; i < 3; i++) assert.equal(fail(i, 0, { code: 'fw_drift', value: null }), null);
    for (let i = 0; i < 3; i++) breaker.set(`node-000${i}`, healthy, minute);
    assert.equal(fail(5, minute, kernel), 'limiter');
    assert.deepEqual(breaker.ready(breakerWindow), ['node-0005']);
  });

  it('counts values apart, and none as one value', () => {
    const apart = groupOf(10);
    for (let i = 0; i < 3; i++) apart.fail(i, 0, { code: 'kernel_unknown', value: `kernel sha256:${i}` });
    assert.equal(
      apart.breaker.failing(0).some(({ isMass }) => isMass),
      false,
    );
    const alike = groupOf(10);
    for (let i = 0; i < 3; i++) alike.fail(i, 0, { code: 'fw_drift', value: null });
    assert.equal(alike.breaker.failing(0)[0]?.isMass, true);
  });

  it('forgets failures of more than ten minutes ago', () => {
    const { breaker, fail } = groupOf(10);
    fail(0, 0);
    fail(1, 4 * minute);
    fail(2, 11 * minute);
    assert.equal(breaker.failing(11 * minute)[0]?.isMass, false);
  });

  it('puts no taint of drift while the API, the clock or the version is in doubt', () => {
    const { breaker, fail, nameOf } = groupOf(10);
    breaker.doubt(true);
    assert.equal(fail(0, 0), 'doubt');
    assert.deepEqual(breaker.opened(0), []);
    breaker.doubt(false);
    assert.deepEqual(breaker.ready(1), [nameOf(0)]);
  });

  it('taints first who failed first', () => {
    const { breaker, nameOf } = groupOf(10);
    const failed = { ...healthy, drift: kernel };
    breaker.set(nameOf(3), failed, 5000);
    breaker.set(nameOf(1), failed, 5000, 4000);
    assert.deepEqual(breaker.ready(5000), [nameOf(1)]);
  });

  const ours = { code: 'cmdline_policy', value: 'policy strict@e25b', isOurs: true } as const;

  it('holds what a change of ours turned, were it one node, and no time ends that (row 376)', () => {
    const { breaker, fail, hold } = groupOf(100, 'taint');
    assert.equal(fail(0, 0, ours), 'our_change');
    const opened = { group: 'workers', code: ours.code, value: ours.value };
    assert.deepEqual(breaker.opened(0), [opened]);
    breaker.decide([hold('open', ours)], 0);
    assert.equal(fail(1, 50 * minute, ours), 'our_change');
    assert.deepEqual(breaker.ready(24 * 60 * minute), []);
    const [failing] = breaker.failing(24 * 60 * minute);
    assert.deepEqual([failing?.isOurs, failing?.isMass, failing?.waiting], [true, false, 2]);
    breaker.decide([hold('released', ours)], 24 * 60 * minute);
    assert.deepEqual(breaker.ready(24 * 60 * minute).length, 2);
  });

  it('takes the release of one change of ours for no other one (row 376)', () => {
    const { breaker, fail, hold } = groupOf(100);
    fail(0, 0, ours);
    breaker.decide([hold('released', ours)], 0);
    assert.equal(fail(1, minute, { ...ours, value: 'policy strict@0a1b' }), 'our_change');
    assert.equal(fail(2, minute, ours), null);
  });

  it('counts no node that a change of ours turned among those that fail the same way (row 376)', () => {
    const { breaker, fail } = groupOf(100);
    for (let i = 0; i < 50; i++) fail(i, 0, { ...kernel, isOurs: true });
    assert.equal(breaker.failing(0)[0]?.isMass, false);
    assert.equal(fail(60, 0, { code: 'kernel_unknown', value: 'kernel sha256:bb' }), null);
  });

  it('ends a hold that has held no node for ten minutes', () => {
    const { breaker, fail, heal, hold } = groupOf(10);
    for (let i = 0; i < 3; i++) fail(i, 0);
    breaker.decide([hold('open')], 0);
    for (let i = 0; i < 3; i++) heal(i, minute);
    assert.deepEqual(breaker.ended(minute), []);
    assert.deepEqual(breaker.ended(minute + breakerWindow), [hold('open')]);
  });

  it('begins a new hold for nodes that heal and fail again', () => {
    const { breaker, fail, heal, hold } = groupOf(10);
    for (let i = 0; i < 3; i++) fail(i, 0);
    breaker.decide([hold('open')], 0);
    for (let i = 0; i < 3; i++) heal(i, minute);
    breaker.ended(minute);
    assert.equal(fail(0, 2 * minute), 'breaker');
    assert.deepEqual(breaker.ended(minute + breakerWindow), []);
  });
});

const healthy = {
  group,
  drift: null,
  isTainted: false,
  mayBeTainted: true,
  ekDigest: 'ek',
  trustedAt: 0,
};
