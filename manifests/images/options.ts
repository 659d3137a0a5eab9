import { InvalidArgumentError } from 'commander';
import { type Architecture, architectures } from './recipe.ts';

/** For flags. */
export function architecturesIn(text: string): readonly Architecture[] {
  const names = text.split(',');
  const known = names.filter((name): name is Architecture => Object.hasOwn(architectures, name));
  if (known.length === 0 || known.length !== new Set(names).size)
    throw new InvalidArgumentError(`not a list of ${Object.keys(architectures).join(' and ')}`);
  return known;
}

/** https://reproducible-builds.org/specs/source-date-epoch/ */
export function epochIn(text: string | undefined): number | null {
  if (text === undefined || text === '') return null;
  if (!/^\d{1,11}$/.test(text)) throw new Error(`SOURCE_DATE_EPOCH is no number of seconds: ${text}`);
  return Number(text);
}
