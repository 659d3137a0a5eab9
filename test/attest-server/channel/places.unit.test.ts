import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Places } from '../../../attest-server/channel/places.ts';
import { Rate } from '../../../attest-server/channel/rate.ts';
import { Unjudged } from '../../../attest-server/channel/unjudged.ts';
import { sourceOf } from '../../../attest-server/protocol/source.ts';

const mib = 1024 * 1024;

describe('places for strangers', () => {
  it('go from the oldest of a source to its newest, and never from another source', () => {
    const places = new Places({ perSource: 2, total: 10, keptMs: 0 });
    const gone: string[] = [];
    for (const name of ['a1', 'a2', 'b1', 'a3', 'a4'])
      assert(places.take(name[0] ?? '', () => gone.push(name), 0));
    assert.deepEqual(gone, ['a1', 'a2']);
    assert.equal(places.taken, 3);
  });

  it('are kept for a while, so that a newcomer waits instead', () => {
    const places = new Places({ perSource: 1, total: 10, keptMs: 100 });
    const gone: string[] = [];
    assert(places.take('a', () => gone.push('first'), 0));
    assert.equal(
      places.take('a', () => {}, 99),
      null,
    );
    assert(places.take('a', () => {}, 100));
    assert.deepEqual(gone, ['first']);
  });

  it('are taken from the source that holds most once the room is full', () => {
    const places = new Places({ perSource: 5, total: 6, keptMs: 0 });
    const gone: string[] = [];
    for (const name of ['b1', 'a1', 'a2', 'a3', 'a4', 'a5', 'c1', 'd1'])
      assert(places.take(name[0] ?? '', () => gone.push(name), 0));
    assert.deepEqual(gone, ['a1', 'a2']);
  });

  it('are given back once, however often somebody says so', () => {
    const places = new Places({ perSource: 1, total: 1, keptMs: 1e9 });
    const leave = places.take('a', () => {}, 0);
    leave?.();
    leave?.();
    assert.equal(places.taken, 0);
    assert(places.take('b', () => {}, 0));
    leave?.();
    assert.equal(places.taken, 1);
  });
});

describe('a source', () => {
  for (const [address, source] of [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:db8::9', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    [undefined, ''],
  ] as const)
    it(`of ${address} is ${source || 'nameless'}`, () => assert.equal(sourceOf(address), source));
});

describe('a rate', () => {
  it('allows a burst, then so many a second, and gives back what was asked for', () => {
    const rate = new Rate({ burst: 3, perSecond: 10 }, 0);
    const taken = [0, 0, 0, 0, 50, 100, 100].map((now) => rate.take(now));
    assert.deepEqual(taken, [true, true, true, false, false, true, false]);
    rate.refund(1);
    assert.equal(rate.take(100), true);
    rate.refund(100);
    assert.deepEqual(
      [1, 2, 3, 4].map(() => rate.take(100)),
      [true, true, true, false],
    );
  });
});

describe('bytes that nobody has judged', () => {
  it('are bounded for one source, and for all; a source that holds little is spared', () => {
    const unjudged = new Unjudged();
    assert.equal(unjudged.add('a', 32 * mib), null);
    assert(unjudged.add('a', 1));
    for (let source = 0; source < 6; source++) assert.equal(unjudged.add(`s${source}`, 32 * mib), null);
    assert.equal(unjudged.add('s6', 30 * mib), null);
    assert.equal(unjudged.add('honest', 3 * mib), null);
    assert(unjudged.add('heavy', 5 * mib));
    unjudged.remove('a', 32 * mib + 1);
    assert.equal(unjudged.add('heavy', 1), null);
  });
});
