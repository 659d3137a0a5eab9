import { globSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type BundledPackage, bundledPackages } from '../../swtpm-fixtures/set-up/bundle.ts';
import type { Recipe } from './recipe.ts';

/** The part of the built programs that one image needs. */
export interface Programs {
  /** Paths below their folder. */
  readonly files: readonly string[];
  /** The packages of npm that are in these files. */
  readonly packages: readonly BundledPackage[];
}

/** Of the built programs, nothing that another image needs: each has all that it imports in its own folder. */
export function programsOf({ rooms, commands }: Pick<Recipe, 'rooms' | 'commands'>, dist: string): Programs {
  const files = [
    ...['LICENSE', 'THIRD-PARTY-LICENSES.txt', 'package.json'],
    ...Object.values(commands).map(({ start }) => start),
    ...rooms.flatMap((room) => globSync(`${room}/**/*`, { cwd: dist })),
  ].filter((file) => statSync(join(dist, file)).isFile());
  const bundled = bundledPackages.parse(
    JSON.parse(readFileSync(join(dist, 'bundled-packages.json'), 'utf8')),
  );
  const packages = files.flatMap((file) => bundled[file] ?? []);
  return {
    files: files.sort(),
    packages: [...new Map(packages.map((one) => [one.path, one])).values()].sort((a, b) =>
      a.path < b.path ? -1 : 1,
    ),
  };
}
