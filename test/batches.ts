export interface Batches {
  /** Each is for one process, and two of them run side by side. */
  readonly sideBySide: readonly (readonly string[])[];
  /** Run after those, one after the other. */
  readonly alone: readonly (readonly string[])[];
}

/** Tests of whole programs come first, and last those that compute. */
export function batchesOf(files: readonly string[]): Batches {
  const isPure = (file: string) => /\.(unit|property|vectors)\.test\.ts$/.test(file);
  const others = files.filter((file) => !measuring.includes(file));
  return {
    sideBySide: [
      ...dealt(
        others.filter((file) => !isPure(file)),
        filesAtOnce.programs,
      ),
      ...dealt(others.filter(isPure), filesAtOnce.pure),
    ],
    alone: dealt(
      files.filter((file) => measuring.includes(file)),
      filesAtOnce.pure,
    ),
  };
}

/** Deals files out like cards: neighbours are often equally slow, and come into different batches. */
function dealt(files: readonly string[], atOnce: number): string[][] {
  const hands = Array.from({ length: Math.ceil(files.length / atOnce) }, (): string[] => []);
  for (const [index, file] of files.entries()) hands[index % hands.length]?.push(file);
  return hands;
}

/** They count what is done in a time (answers of those due, connections a second), which beside another process says nothing. */
const measuring: readonly string[] = [
  'test/attest-server/channel/flood.e2e.test.ts',
  'test/attest-server/door/door.e2e.test.ts',
];

/**
 * A process that has run hundreds of files is three times as slow as those that share them: what it keeps of each is looked
 * at by every collection of garbage. Few slow ones at once let both ends meet.
 */
const filesAtOnce = { pure: 16, programs: 3 };
