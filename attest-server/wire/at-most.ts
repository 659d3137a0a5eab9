/**
 * Options of an LRU cache of at most so many entries, which takes memory as they come: by `max` it takes that of all at once, 1.5 MiB
 * for each 65,536 of which mostly few come.
 */
export function atMost(entries: number): {
  readonly maxSize: number;
  readonly sizeCalculation: () => number;
} {
  return { maxSize: entries, sizeCalculation: one };
}

const one = () => 1;
