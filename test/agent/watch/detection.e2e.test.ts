import { equal, ok } from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { startWatchedNode, tampers, type WatchedNode, withIptables } from './watched-node.ts';

/** No challenge is due while this runs: what is seen, the node said by itself. */
const challengeEvery = 300;

describe('a node that is changed while it runs', function () {
  this.timeout(120_000);
  let node: WatchedNode;
  before(async () => {
    node = await startWatchedNode({ challengeEvery, prepare: withIptables });
  });
  after(() => node?.[Symbol.asyncDispose]());

  const last = () => node.world.verdicts.at(-1)?.verdict;
  const codes = () => last()?.reasons.map(({ code }) => code) ?? [];
  for (const [name, code] of [
    ['mount', 'path_not_covered'],
    ['mapping', 'luks_version'],
    ['nft', 'fw_policy_open'],
    ['iptables_nft', 'fw_drift'],
  ] as const)
    it(`says so by itself, and is trusted again once that is taken back: ${name}`, async () => {
      const { do: change, undo } = tampers[name];
      const untrusted = node.until('untrusted', 20_000);
      await change(node);
      await untrusted;
      ok(codes().includes(code), codes().join());
      const trusted = node.until('trusted', 20_000);
      await undo(node);
      await trusted;
      equal(last()?.state, 'trusted');
    });
});
