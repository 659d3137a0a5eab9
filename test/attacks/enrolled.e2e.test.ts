import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { trials } from '../trials.ts';
import { besiegeAsEnrolled, type EnrolledFigures, missedBy } from './enrolled-siege.ts';

const wanted = [
  'boots',
  'dear logs',
  'from many addresses',
  'to be refused',
  'cluster tokens',
  'flaps',
  'challenges with open parts',
];

describe('nodes that are enrolled, and whose root is an attacker', function () {
  this.timeout(300_000);

  it('do all that they can at once, and no honest agent is turned away; what they fill of the disk is bounded (row 394)', async () => {
    const figures = await siegeOf(trials(2));
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
  return besiegeAsEnrolled('mixed', { seconds, attackers: 2, honest: 8, imageWithin: 6, wanted });
}

/** What was not done even once. */
function missing({ attacker }: EnrolledFigures): readonly string[] {
  return wanted.filter((what) => !((attacker[what] ?? 0) > 0));
}
