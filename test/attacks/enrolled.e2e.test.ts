import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { besiegeAsEnrolled, missedBy } from './enrolled-siege.ts';

describe('nodes that are enrolled, and whose root is an attacker', function () {
  this.timeout(180_000);

  it('do all that they can at once, and no honest agent is turned away; what they fill of the disk is bounded (row 394)', async () => {
    const siege = { seconds: 6, attackers: 4, honest: 8, imageWithin: 6 };
    const figures = await besiegeAsEnrolled('mixed', siege);
    const { attacker, honest_kept, honest_wrong, honest_lost, disk_mib_a_node, disk_mib_may } = figures;
    for (const what of [
      'boots',
      'dear logs',
      'from many addresses',
      'to be refused',
      'cluster tokens',
      'flaps',
      'challenges with open parts',
    ])
      assert.ok((attacker[what] ?? 0) > 0, `${what}: ${JSON.stringify(attacker)}`);
    assert.deepEqual([honest_wrong, honest_lost], [0, 0]);
    assert.ok(honest_kept > 0);
    assert.ok(disk_mib_a_node <= disk_mib_may, `${disk_mib_a_node} MiB of ${disk_mib_may}`);
    // A figure that nothing is known of would hold each bound.
    assert.ok(Object.values(figures).every((figure) => !Number.isNaN(figure)));
    assert.ok(missedBy('mixed', { ...figures, rss_over_idle_mib: 257 }).includes('257 MiB over idle'));
  });
});
