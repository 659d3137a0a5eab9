export const isSmallest = process.argv.includes('--smallest');

/** How many, or how long: as a figure needs it, and where only the work itself is tried (`npm run bench -- --smallest`). */
export function sized(forFigures: number, toTryIt: number): number {
  return isSmallest ? toTryIt : forFigures;
}
