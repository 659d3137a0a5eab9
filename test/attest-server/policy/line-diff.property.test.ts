import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { diffLines, unifiedDiff } from '../../../attest-server/policy/line-diff.ts';

const text = fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 40 });
const numbered = (count: number, of = 'line') =>
  Array.from({ length: count }, (_, index) => `${of} ${index}`);

/** What a program makes of `before` that applies a unified diff. */
function applied(before: readonly string[], diff: readonly string[]): readonly string[] {
  const out: string[] = [];
  let at = 0;
  for (const line of diff) {
    const head = /^@@ -(\d+),(\d+) \+(\d+),(\d+) @@$/.exec(line);
    if (head !== null) {
      const [from, length] = [Number(head[1]), Number(head[2])];
      const start = length === 0 ? from : from - 1;
      out.push(...before.slice(at, start));
      at = start;
      assert.equal(out.length, Number(head[4]) === 0 ? Number(head[3]) : Number(head[3]) - 1, line);
    } else if (line.startsWith('+')) out.push(line.slice(1));
    else {
      assert.equal(before[at], line.slice(1));
      if (line.startsWith(' ')) out.push(line.slice(1));
      at += 1;
    }
  }
  return [...out, ...before.slice(at)];
}

describe('a difference of two texts by lines', () => {
  it('leads from the one to the other, and is empty only where they are the same', () => {
    fc.assert(
      fc.property(text, text, (before, after) => {
        const diff = unifiedDiff(before, after);
        assert.deepEqual(applied(before, diff), after);
        assert.equal(diff.length === 0, before.join() === after.join());
      }),
    );
  });

  it('shows what came and went between lines that stayed', () => {
    const before = numbered(20);
    const after = before.toSpliced(10, 1, 'another');
    assert.deepEqual(unifiedDiff(before, after), [
      '@@ -8,7 +8,7 @@',
      ' line 7',
      ' line 8',
      ' line 9',
      '-line 10',
      '+another',
      ' line 11',
      ' line 12',
      ' line 13',
    ]);
  });

  it('takes no square of the time for long texts that have nothing in common, or all lines moved', () => {
    const [before, after] = [numbered(100_000), numbered(100_000, 'other')];
    const started = performance.now();
    assert.equal(diffLines(before, after).length, 200_000);
    assert.ok(unifiedDiff(before, before.toReversed()).length > 100_000);
    assert.ok(unifiedDiff(Array(50_000).fill('same'), Array(60_000).fill('same')).length > 10_000);
    assert.ok(performance.now() - started < 5_000);
  });
});
