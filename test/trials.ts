/** How often `.ci/run` tries what is tried by chance or at length: a whole multiple of what `npm test` does. */
const times = Number(process.env.ASSAY_TEST_TRIALS ?? 1);

/** @param few as many as find a fault of the plain kind, in a moment */
export function trials(few: number): number {
  return few * times;
}
