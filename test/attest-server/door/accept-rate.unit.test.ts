import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { AcceptRate } from '../../../attest-server/door/accept-rate.ts';
import { inAll } from '../../../attest-server/door/bounds.ts';

const { strangers, newcomers } = inAll;
const { burst: first } = newcomers.each;

/** An accept rate, and a clock that stands until a test moves it. */
function atRate(perSecond: number) {
  let now = 0;
  const acceptRate = new AcceptRate({ perSecond }, () => now);
  const admitted = (source: string, times: number) =>
    Array.from({ length: times }, () => acceptRate.take(source)).filter((bound) => bound === null).length;
  const pass = (ms: number) => {
    now += ms;
  };
  return { acceptRate, admitted, pass };
}

describe('the accept rate of new connections', () => {
  it('is bounded by source, whoever is known there', () => {
    const { acceptRate, admitted, pass } = atRate(10);
    assert.equal(admitted('a', 100), 20);
    assert.equal(acceptRate.take('a'), 'rate');
    pass(1_000);
    acceptRate.know('a');
    assert.equal(admitted('a', 100), 10);
  });

  it('is bounded in all where nobody is known, and the first of each source come in all the same (row 121)', () => {
    const { acceptRate, admitted, pass } = atRate(1_000);
    const sources = Array.from({ length: 64 }, (_, index) => `stranger-${index}`);
    const flood = () => sources.reduce((sum, source) => sum + admitted(source, 100), 0);
    assert.equal(flood(), newcomers.burst + strangers.burst);
    pass(1_000);
    assert.equal(flood(), strangers.perSecond);
    assert.equal(admitted('honest', first), first);
    assert.equal(acceptRate.take('honest'), 'rate_in_all');
    acceptRate.know('honest');
    assert.equal(admitted('honest', 500), 500);
    assert.equal(acceptRate.take('stranger-0'), 'rate_in_all');
  });

  it('leaves what a source that floods alone may not take to those that come now and then (row 121)', () => {
    const { admitted, pass } = atRate(1_000);
    for (let second = 0; second < 10; second++) {
      admitted('flood', 500);
      assert.equal(admitted('probe', 2), 2);
      pass(1_000);
    }
  });

  it('bounds the newcomers too', () => {
    const { acceptRate } = atRate(1_000);
    const sources = Array.from(
      { length: newcomers.burst + strangers.burst + 100 },
      (_, index) => `s${index}`,
    );
    const refused = sources.filter((source) => acceptRate.take(source) !== null);
    assert.equal(refused.length, 100);
  });

  it('takes few connections of a known source that prove nothing, and as many as it likes that do (row 364)', () => {
    const { acceptRate, admitted, pass } = atRate(64);
    const sources = Array.from({ length: 16 }, (_, index) => `owned-${index}`);
    for (const source of sources) acceptRate.know(source);
    const flood = () => sources.reduce((sum, source) => sum + admitted(source, 100), 0);
    assert.equal(flood(), 16 * 64 + inAll.proven.burst);
    pass(1_000);
    assert.equal(flood(), 16 * (4 + inAll.light.perSecond));
    assert.equal(acceptRate.take('owned-0'), 'rate');
    acceptRate.know('fleet');
    for (let second = 0; second < 10; second++) {
      for (let round = 0; round < 4; round++) {
        assert.equal(admitted('fleet', 16), 16);
        for (let agent = 0; agent < 16; agent++) acceptRate.prove('fleet');
      }
      pass(1_000);
      flood();
    }
  });

  it('forgets who was known after an hour', () => {
    const { acceptRate, admitted, pass } = atRate(1_000);
    acceptRate.know('a');
    assert.equal(admitted('a', 300), 300);
    pass(inAll.knownFor);
    assert.equal(admitted('a', 300), first + strangers.burst - strangers.spared);
  });
});
