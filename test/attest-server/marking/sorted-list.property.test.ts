import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { SortedList } from '../../../attest-server/marking/sorted-list.ts';

const steps = fc.array(fc.record({ isAdded: fc.boolean(), item: fc.integer({ min: 0, max: 20 }) }));

describe('a sorted list', () => {
  it('has in order what was added and not removed, and counts as a look at each would', () => {
    fc.assert(
      fc.property(steps, (taken) => {
        const list = new SortedList<number>((a, b) => a - b);
        let model: number[] = [];
        for (const { isAdded, item } of taken) {
          const index = model.indexOf(item);
          model = isAdded ? [...model, item] : model.filter((_, at) => at !== index);
          if (isAdded) list.add(item);
          else list.remove(item);
          assert.deepEqual(
            [...list],
            model.toSorted((a, b) => a - b),
          );
          assert.equal(list.countAfter(item), model.filter((one) => one > item).length);
          assert.equal(list.size, model.length);
        }
      }),
    );
  });
});
