/** One line of two lists that were compared; places count from 0. */
export type DiffLine =
  | { readonly is: 'same' | 'removed' | 'added'; readonly before: number; readonly after: number }
  /** Gone from one place, and at another one: shown at both. */
  | { readonly is: 'moved-from' | 'moved-to'; readonly before: number; readonly after: number };

/**
 * What became of the lines of `before`, in O(n log n): each line is paired with the one that says the same, the longest
 * run of pairs in order stayed, the other pairs moved.
 */
export function diffLines(before: readonly string[], after: readonly string[]): readonly DiffLine[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let endBefore = before.length;
  let endAfter = after.length;
  while (endBefore > start && endAfter > start && before[endBefore - 1] === after[endAfter - 1]) {
    endBefore--;
    endAfter--;
  }
  const pairOf = pairs(before, after, start, endBefore, endAfter);
  const stays = longestRun(pairOf, start, endBefore);
  const partner = new Map<number, number>();
  for (let i = start; i < endBefore; i++) if (pairOf[i - start]! >= 0) partner.set(pairOf[i - start]!, i);

  const lines: DiffLine[] = [];
  for (let i = 0; i < start; i++) lines.push({ is: 'same', before: i, after: i });
  let i = start;
  let j = start;
  while (i < endBefore || j < endAfter) {
    if (i < endBefore && !stays.has(i)) {
      const to = pairOf[i - start]!;
      lines.push({ is: to < 0 ? 'removed' : 'moved-from', before: i, after: to < 0 ? j : to });
      i++;
    } else if (j < endAfter && (i >= endBefore || pairOf[i - start] !== j)) {
      const from = partner.get(j);
      lines.push({ is: from === undefined ? 'added' : 'moved-to', before: from ?? i, after: j });
      j++;
    } else {
      lines.push({ is: 'same', before: i, after: j });
      i++;
      j++;
    }
  }
  for (; i < before.length; i++, j++) lines.push({ is: 'same', before: i, after: j });
  return lines;
}

/** Of each line of `before`, its place in `after`; -1 where there is none. The first is paired with the first. */
function pairs(
  before: readonly string[],
  after: readonly string[],
  start: number,
  endBefore: number,
  endAfter: number,
): Int32Array {
  const places = new Map<string, number[]>();
  // From the end, so that the first place is taken from the end of each list.
  for (let j = endAfter - 1; j >= start; j--) {
    const known = places.get(after[j]!);
    if (known === undefined) places.set(after[j]!, [j]);
    else known.push(j);
  }
  const pairOf = new Int32Array(endBefore - start).fill(-1);
  for (let i = start; i < endBefore; i++) pairOf[i - start] = places.get(before[i]!)?.pop() ?? -1;
  return pairOf;
}

/** The longest increasing subsequence of the pairs: their lines did not move. */
function longestRun(pairOf: Int32Array, start: number, end: number): ReadonlySet<number> {
  const tails: number[] = [];
  const previous = new Int32Array(end - start).fill(-1);
  for (let i = 0; i < end - start; i++) {
    const place = pairOf[i]!;
    if (place < 0) continue;
    let low = 0;
    let high = tails.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (pairOf[tails[middle]!]! < place) low = middle + 1;
      else high = middle;
    }
    previous[i] = low === 0 ? -1 : tails[low - 1]!;
    tails[low] = i;
  }
  const run = new Set<number>();
  for (let i = tails.at(-1) ?? -1; i >= 0; i = previous[i]!) run.add(i + start);
  return run;
}
