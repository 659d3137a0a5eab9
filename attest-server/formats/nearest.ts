/** The known word that was probably meant; null if none is near. */
function nearestWord(word: string, known: readonly string[]): string | null {
  const most = word.length < 4 ? 1 : word.length < 9 ? 2 : 3;
  let best: { readonly word: string; readonly steps: number } | null = null;
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) > most) continue;
    const steps = stepsBetween(word.toLowerCase(), candidate.toLowerCase());
    if (steps <= most && (best === null || steps < best.steps)) best = { word: candidate, steps };
  }
  return best?.word ?? null;
}

/** `; did you mean kernel_unknown?`, or nothing. */
export function suggestion(word: string, known: readonly string[]): string {
  // A word much longer than any that is known is not worth the comparison.
  const near = word.length > 64 ? null : nearestWord(word, known);
  return near === null ? '' : `; did you mean ${near}?`;
}

/** Levenshtein's distance. */
function stepsBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, change));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
