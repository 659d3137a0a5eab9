/** One line of two lists that were compared; places count from 0. */
export type DiffLine =
  | { readonly is: 'same' | 'removed' | 'added'; readonly before: number; readonly after: number }
  /** Gone from one place, and at another one: shown at both. */
  | { readonly is: 'moved-from' | 'moved-to'; readonly before: number; readonly after: number };

/**
 * The fate of the lines of `before`, in O(n log n): each line is paired with the one that says the same, the longest run of
 * pairs in order stayed, the other pairs moved.
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

/** Both lists as a unified diff, with three lines around each change; empty if they are the same. */
export function unifiedDiff(before: readonly string[], after: readonly string[]): readonly string[] {
  const lines = diffLines(before, after);
  const out: string[] = [];
  const passed = { before: 0, after: 0 };
  let end = 0;
  for (let index = 0; index < lines.length; index++) {
    if (lines[index]?.is === 'same') continue;
    const start = Math.max(end, index - context);
    let last = index;
    // Two changes whose surroundings meet are one hunk.
    for (let next = index + 1; next <= last + 2 * context + 1 && next < lines.length; next++)
      if (lines[next]?.is !== 'same') last = next;
    pass(passed, lines.slice(end, start));
    end = Math.min(lines.length, last + 1 + context);
    const hunk = lines.slice(start, end);
    const from = { ...passed };
    pass(passed, hunk);
    out.push(`@@ -${rangeOf('before', from, passed)} +${rangeOf('after', from, passed)} @@`);
    for (const line of hunk) out.push(lineOf(line, before, after));
    index = end - 1;
  }
  return out;
}

const context = 3;

interface PassedLines {
  before: number;
  after: number;
}

function pass(passed: PassedLines, lines: readonly DiffLine[]): void {
  for (const { is } of lines) {
    if (is === 'same' || onlyBefore(is)) passed.before += 1;
    if (is === 'same' || !onlyBefore(is)) passed.after += 1;
  }
}

function rangeOf(side: keyof PassedLines, from: PassedLines, to: PassedLines): string {
  const length = to[side] - from[side];
  return `${length === 0 ? from[side] : from[side] + 1},${length}`;
}

function onlyBefore(is: DiffLine['is']): boolean {
  return is === 'removed' || is === 'moved-from';
}

function lineOf(line: DiffLine, before: readonly string[], after: readonly string[]): string {
  if (line.is === 'same') return ` ${after[line.after]}`;
  return onlyBefore(line.is) ? `-${before[line.before]}` : `+${after[line.after]}`;
}

/** The place in `after` of each line of `before`; -1 if there is none. The first is paired with the first. */
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
