import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { trials } from '../../trials.ts';
import { cap, capOf, type Extended, pcr15 } from './made-cap.ts';

const texts = fc.array(fc.string({ maxLength: 8 }), { maxLength: 12 });

describe('a boot with any events of firmware and user space', () => {
  it('is open as far as it is, and capped from any moment on, whatever its log goes on to say', () => {
    fc.assert(
      fc.property(
        texts,
        texts,
        texts,
        fc.nat(),
        fc.constantFrom('sha1', 'sha256', 'sha384'),
        (firmware, userSpace, more, place, bank) => {
          const before = [...firmware, ...userSpace];
          const at = place % (before.length + 1);
          const logs = { firmware, userSpace: [...userSpace, ...more] };
          const read = (extended: readonly Extended[]) => capOf({ [bank]: extended }, logs).get(bank);
          assert.equal(read(before)?.state, 'open');
          const capped = read([...before.slice(0, at), cap, ...before.slice(at)]);
          assert.equal(capped?.state, 'capped');
          assert.deepEqual(capped.before, pcr15(bank, before.slice(0, at)));
          assert.equal(read(['what nobody logged', ...before])?.state, 'unexplained');
        },
      ),
      { numRuns: trials(50) },
    );
  });
});
