import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import type { TokenBearer } from '../../../attest-server/enrolment/cluster.ts';
import { TokenShares } from '../../../attest-server/kubernetes/token-shares.ts';

describe('the shares of those who show tokens', () => {
  let shares: TokenShares;
  let now: number;
  beforeEach(() => {
    now = 0;
    shares = new TokenShares(now);
  });
  const at = (source: string) => ({ source, node: null, isAtHome: false });
  const home = (node: string, source = node) => ({ source, node, isAtHome: true });
  const away = (node: string, source: string) => ({ source, node, isAtHome: false });
  const take = (bearer: TokenBearer, wasGood = false) => shares.take(bearer, wasGood, now);
  /** A tenth of a second each. */
  function flood(seconds: number, each: () => void): void {
    for (let step = 0; step < seconds * 10; step++) {
      now += 100;
      each();
    }
  }

  it('are used up by no enrolled nodes that send made-up ones without end from their own places (row 367)', () => {
    for (let node = 0; node < 130; node++) shares.know(at(`attacker-${node}`), now);
    flood(60, () => {
      for (let node = 0; node < 130; node++)
        for (let token = 0; token < 6; token++) {
          take(home(`attacker-${node}`));
          take(at(`attacker-${node}`));
          take(away(`node-${(now + token) % 997}`, `attacker-${node}`));
        }
    });
    for (let node = 0; node < 900; node++) assert.equal(take(home(`node-${node}`)), 'first');
    assert.equal(take(away('moved', '192.0.2.9')), 'behind');
    assert.equal(take(at('192.0.2.8')), 'behind');
    assert.equal(take(home('attacker-1'), true), 'first');
  });

  it('are used up by nobody who has the keys of all nodes and comes from one address that is none of theirs', () => {
    flood(60, () => {
      for (let node = 0; node < 60; node++) take(away(`node-${(now / 100) % 80}-${node}`, '192.0.2.1'));
    });
    assert.equal(take(home('node-1-1')), 'first');
    assert.equal(take(away('node-1-1', '192.0.2.2')), 'behind');
    assert.equal(take(at('192.0.2.3')), 'behind');
  });

  it('are those of a place that is known, for an hour after a good token came from there', () => {
    shares.know(at('192.0.2.1'), now);
    assert.equal(take(at('192.0.2.1')), 'first');
    now += 3_600_000;
    assert.equal(take(at('192.0.2.1')), 'behind');
  });

  it('let a whole fleet in at once, where it is, whose tokens nobody has seen', () => {
    for (let node = 0; node < 2_048; node++) assert.equal(take(home(`node-${node}`, '192.0.2.1')), 'first');
    assert.equal(take(home('one-more')), null);
    now += 10;
    assert.equal(take(home('one-more')), 'first');
  });
});
