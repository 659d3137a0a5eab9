import { type GeneratedFiles, generators } from '../generated/list.ts';
import { outOfDate } from '../generated/out-of-date.ts';
import type { Fault } from './fault.ts';

/** What this version makes of its declarations. What is rendered by Helm is left to `npm test`. */
export async function makeGenerated(): Promise<GeneratedFiles> {
  const made: [string, string | null][] = [];
  for (const { make } of generators.filter(({ needsHelm }) => !needsHelm)) made.push(...(await make()));
  return new Map(made);
}

/** That what editors and people read is what this version takes. */
export function checkGenerated(tree: string, made: GeneratedFiles): readonly Fault[] {
  return outOfDate(tree, made).map((file) => ({
    what: `${file} is out of date`,
    next: 'Write it anew: npm run generate',
  }));
}
