import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Lease, renewEvery } from '../../../attest-server/marking/lease.ts';
import { ClusterError, type ClusterLease } from '../../../attest-server/marking/ports.ts';
import { today } from './made-marking.ts';

/** One lease, and servers whose clocks stand until they are moved. */
class Leases {
  at = 0;
  stored: ClusterLease | null = null;
  fails: ClusterError | null = null;
  readonly told: string[] = [];
  #version = 0;

  server(holder: string, skew = 0): Lease {
    return new Lease({
      writer: {
        readLease: async () => {
          if (this.fails !== null) throw this.fails;
          return this.stored;
        },
        writeLease: async (lease) => {
          if (this.fails !== null) throw this.fails;
          if (lease.resourceVersion !== (this.stored?.resourceVersion ?? null))
            throw new ClusterError('conflict', 'another one is there');
          this.#version += 1;
          this.stored = { ...lease, resourceVersion: String(this.#version) };
          return this.stored;
        },
      },
      holder,
      now: () => today + skew + this.at,
      monotonic: () => this.at,
      renewEvery,
      changed: (isHeld, by) => void this.told.push(`${holder} ${isHeld ? 'marks' : `waits for ${by}`}`),
      failed: ({ reason }) => void this.told.push(`${holder} ${reason}`),
    });
  }
}

describe('the lease of servers', () => {
  it('is held by one of two, and the other waits while it is renewed', async () => {
    const leases = new Leases();
    const [a, b] = [leases.server('a'), leases.server('b', 3_600_000)];
    await a.renew();
    for (let i = 0; i < 10; i++) {
      await b.renew();
      leases.at += 10_000;
      await a.renew();
      assert.deepEqual([a.isHeld(), b.isHeld()], [true, false]);
    }
    assert.equal(b.holder(), 'a');
    assert.deepEqual(leases.told, ['a marks']);
  });

  it('goes to the other once its holder has said nothing for its duration, whatever the clocks say', async () => {
    const leases = new Leases();
    const [a, b] = [leases.server('a'), leases.server('b', -86_400_000)];
    await a.renew();
    await b.renew();
    leases.at += 29_000;
    await b.renew();
    assert.equal(b.isHeld(), false);
    leases.at += 1000;
    await b.renew();
    assert.equal(b.isHeld(), true);
    assert.equal(leases.stored?.transitions, 1);
    await a.renew();
    assert.equal(a.isHeld(), false);
  });

  it('goes to the other also where its holder took it for a hundred years, and says nothing more', async () => {
    const leases = new Leases();
    const [a, b] = [leases.server('a'), leases.server('b')];
    await a.renew();
    if (leases.stored !== null) leases.stored = { ...leases.stored, durationSeconds: 2 ** 31 - 1 };
    await b.renew();
    leases.at += 599_000;
    await b.renew();
    assert.equal(b.isHeld(), false);
    leases.at += 2000;
    await b.renew();
    assert.equal(b.isHeld(), true);
  });

  it('is lost here before another one may take it', async () => {
    const leases = new Leases();
    const a = leases.server('a');
    await a.renew();
    leases.fails = new ClusterError('unreachable', 'no answer');
    leases.at += 19_000;
    await a.renew();
    assert.equal(a.isHeld(), true);
    leases.at += 1000;
    a.reportChange();
    assert.deepEqual([a.isHeld(), a.holder()], [false, null]);
    assert.deepEqual(leases.told, ['a marks', 'a unreachable', 'a waits for null']);
  });

  it('is given back at the end, so that nobody waits', async () => {
    const leases = new Leases();
    const [a, b] = [leases.server('a'), leases.server('b')];
    await a.renew();
    await b.renew();
    await a.release();
    await b.renew();
    assert.deepEqual([a.isHeld(), b.isHeld()], [false, true]);
  });

  it('is given back also while it is being renewed', async () => {
    const leases = new Leases();
    const a = leases.server('a');
    await a.renew();
    leases.at += renewEvery;
    await Promise.all([a.renew(), a.release()]);
    assert.deepEqual([a.isHeld(), leases.stored?.holder], [false, null]);
  });

  it('is renewed once at a time, and sooner after a try that failed', async () => {
    const leases = new Leases();
    const a = leases.server('a');
    leases.fails = new ClusterError('unreachable', 'refused');
    assert.equal(a.isDue(), true);
    const [first, second] = [a.renew(), a.renew()];
    assert.equal(a.isDue(), false);
    await Promise.all([first, second]);
    assert.deepEqual(leases.told, ['a unreachable']);
    const dueIn = () => {
      const begun = leases.at;
      while (!a.isDue()) leases.at += 100;
      return leases.at - begun;
    };
    assert.equal(dueIn(), 2000);
    leases.fails = null;
    await a.renew();
    assert.equal(dueIn(), renewEvery);
  });

  it('goes to one where both begin at once', async () => {
    const leases = new Leases();
    const [a, b] = [leases.server('a'), leases.server('b')];
    await Promise.all([a.renew(), b.renew()]);
    assert.equal([a, b].filter((one) => one.isHeld()).length, 1);
  });

  it('marks nothing without the right to it, and says so', async () => {
    const leases = new Leases();
    leases.fails = new ClusterError('forbidden', 'no right');
    const a = leases.server('a');
    await a.renew();
    assert.equal(a.isHeld(), false);
    assert.deepEqual(leases.told, ['a forbidden']);
  });
});
