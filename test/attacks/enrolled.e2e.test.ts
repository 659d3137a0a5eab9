import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { besiegeAsEnrolled, type EnrolledFigures, missedBy } from './enrolled-siege.ts';

describe('nodes that are enrolled, and whose root is an attacker', function () {
  this.timeout(300_000);

  it('do all that they can at once, and no honest agent is turned away; what they fill of the disk is bounded (row 394)', async () => {
    let figures = await siegeOf(6);
    // A busy machine comes to each of its attacks later.
    for (const longer of [20, 60]) if (missing(figures).length > 0) figures = await siegeOf(longer);
    const { honest_kept, honest_wrong, honest_lost, disk_mib_a_node, disk_mib_may } = figures;
    assert.deepEqual(missing(figures), []);
    assert.deepEqual([honest_wrong, honest_lost], [0, 0]);
    assert.ok(honest_kept > 0);
    assert.ok(disk_mib_a_node <= disk_mib_may, `${disk_mib_a_node} MiB of ${disk_mib_may}`);
    // A figure that nothing is known of would hold each bound.
    assert.ok(Object.values(figures).every((figure) => !Number.isNaN(figure)));
    assert.ok(missedBy('mixed', { ...figures, rss_over_idle_mib: 257 }).includes('257 MiB over idle'));
  });
});

function siegeOf(seconds: number): Promise<EnrolledFigures> {
  return besiegeAsEnrolled('mixed', { seconds, attackers: 4, honest: 8, imageWithin: 6 });
}

/** What was not done even once. */
function missing({ attacker }: EnrolledFigures): readonly string[] {
  return [
    'boots',
    'dear logs',
    'from many addresses',
    'to be refused',
    'cluster tokens',
    'flaps',
    'challenges with open parts',
  ].filter((what) => !((attacker[what] ?? 0) > 0));
}
