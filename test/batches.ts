/** Seconds that files took in an earlier run (`seconds.json`, which `npm test -- --keep-seconds` writes). */
export type Seconds = Readonly<Record<string, number>>;

/**
 * Files for one process of mocha each, in the order in which they begin: the slowest first, so that none is alone at the
 * end. As many short ones of a kind come together as take as long as one slow file.
 */
export function batchesOf(files: readonly string[], seconds: Seconds): readonly (readonly string[])[] {
  const secondsOf = (file: string) => seconds[file] ?? unknown[kindOf(file)];
  const slowest = [...files].sort((one, other) => secondsOf(other) - secondsOf(one));
  const batches: { readonly files: string[]; seconds: number }[] = [];
  for (const kind of ['program', 'pure'] as const) {
    let last: (typeof batches)[number] | undefined;
    for (const file of slowest.filter((each) => kindOf(each) === kind)) {
      const its = secondsOf(file);
      if (last === undefined || last.files.length >= most.files || last.seconds + its > most.seconds) {
        last = { files: [], seconds: 0 };
        batches.push(last);
      }
      last.files.push(file);
      last.seconds += its;
    }
  }
  return batches.sort((one, other) => other.seconds - one.seconds).map((batch) => batch.files);
}

/** Of those that no run has seen yet. */
const unknown = { program: 8, pure: 0.5 } as const;

const kindOf = (file: string) =>
  /\.(unit|property|vectors)\.test\.ts$/.test(file) ? ('pure' as const) : ('program' as const);

/**
 * A process that has run hundreds of files is three times as slow as those that share them: what it keeps of each is looked
 * at by every collection of garbage.
 */
const most = { files: 32, seconds: 30 };
