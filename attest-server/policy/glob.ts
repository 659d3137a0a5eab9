/** `*` stands for any characters, `?` for one; the whole name must match. Linear steps back, so that no glob can hang. */
export function globMatches(glob: string, name: string): boolean {
  let g = 0;
  let n = 0;
  let star = -1;
  let resume = 0;
  while (n < name.length) {
    if (glob[g] === '*') {
      star = g++;
      resume = n;
    } else if (g < glob.length && (glob[g] === '?' || glob[g] === name[n])) {
      g++;
      n++;
    } else if (star >= 0) {
      g = star + 1;
      n = ++resume;
    } else return false;
  }
  while (glob[g] === '*') g++;
  return g === glob.length;
}

/** True if all that matches `glob` also matches `wide`. A `?` in `wide` is not looked into. */
export function covers(wide: string, glob: string): boolean {
  return wide === glob || (!wide.includes('?') && globMatches(wide, glob));
}

/** True for a glob of nothing but stars. */
export function isEverything(glob: string): boolean {
  return /^\*+$/.test(glob);
}
