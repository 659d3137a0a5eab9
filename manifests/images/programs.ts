import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import { z } from 'zod';
import type { Recipe } from './recipe.ts';

/** What of the compiled programs one image needs, as paths below their folder. */
export interface Programs {
  readonly files: readonly string[];
  readonly packages: readonly NpmPackage[];
}

export interface NpmPackage {
  /** `node_modules/NAME`, or below another package. */
  readonly path: string;
  readonly name: string;
  readonly version: string;
  readonly licence: string;
}

/** Of the compiled programs, nothing that another image needs: neither files nor packages. */
export function programsOf(recipe: Pick<Recipe, 'rooms' | 'commands'>, dist: string): Programs {
  const files = new Set(['LICENSE', 'THIRD-PARTY-LICENSES.txt', 'package.json']);
  const packages = new Map<string, NpmPackage>();
  const waiting = Object.values(recipe.commands).map(({ start }) => start);
  for (const room of recipe.rooms)
    for (const file of globSync(`${room}/**/*`, { cwd: dist })) {
      if (!statSync(join(dist, file)).isFile()) continue;
      if (/\.m?js$/.test(file)) waiting.push(file);
      else files.add(file);
    }
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (files.has(file)) continue;
    files.add(file);
    for (const from of importsOf(readFileSync(join(dist, file), 'utf8'))) {
      if (from.startsWith('.')) waiting.push(moduleAt(dist, normalize(join(dirname(file), from)), file));
      else if (!isBuiltin(from)) addPackage(packages, dist, '', packageNameOf(from), file);
    }
  }
  return {
    files: [...files].sort(),
    packages: [...packages.values()].sort((a, b) => compare(a.path, b.path)),
  };
}

/** Modules that a compiled file loads, at its start or later. */
export function importsOf(text: string): readonly string[] {
  const statements =
    /^(?:import|export)\b(?:[^'"`;]*?\bfrom)?\s*['"]([^'"\n]+)['"]|\bimport\(\s*['"]([^'"\n]+)['"]/gm;
  return [...text.matchAll(statements)].map(([, early, late]) => early ?? late ?? '');
}

function moduleAt(dist: string, file: string, importer: string): string {
  if (!existsSync(join(dist, file))) throw new Error(`${importer} imports ${file}, which was not compiled`);
  return file;
}

function isBuiltin(name: string): boolean {
  return name.startsWith('node:') || builtinModules.includes(name);
}

function packageNameOf(from: string): string {
  return from
    .split('/')
    .slice(0, from.startsWith('@') ? 2 : 1)
    .join('/');
}

const described = z.object({
  version: z.string(),
  license: z.union([z.string(), z.object({ type: z.string() })]).optional(),
  licenses: z.array(z.object({ type: z.string() })).optional(),
  dependencies: z.record(z.string(), z.string()).optional(),
  optionalDependencies: z.record(z.string(), z.string()).optional(),
  engines: z.record(z.string(), z.string()).optional(),
});

/** Optional ones are left out: what our packages ask for in this way is for other runtimes than Node. */
function addPackage(
  found: Map<string, NpmPackage>,
  dist: string,
  within: string,
  name: string,
  importer: string,
): void {
  const path = placeOf(dist, within, name);
  if (path === null)
    throw new Error(`${importer} needs the package ${name}, which is not among the compiled programs`);
  if (found.has(path)) return;
  const { version, license, licenses, dependencies, optionalDependencies, engines } = described.parse(
    JSON.parse(readFileSync(join(dist, path, 'package.json'), 'utf8')),
  );
  // For another runtime, and named there by packages of both.
  if (engines?.bare !== undefined && engines.node === undefined) return;
  // Descriptions for a compiler.
  if (globSync('**/*.{js,cjs,mjs}', { cwd: join(dist, path) }).length === 0) return;
  const stated = typeof license === 'object' ? license.type : license;
  const licence = stated ?? licenses?.map(({ type }) => type).join(' OR ') ?? 'NOASSERTION';
  found.set(path, { path, name, version, licence });
  for (const dependency of Object.keys(dependencies ?? {}))
    if (!Object.hasOwn(optionalDependencies ?? {}, dependency))
      addPackage(found, dist, path, dependency, name);
}

/** As Node looks for it: beside what the package itself has, then one folder further out. */
function placeOf(dist: string, within: string, name: string): string | null {
  for (let folder = within; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const path = join(folder, 'node_modules', name);
    if (existsSync(join(dist, path, 'package.json'))) return path;
    if (folder === '') return null;
  }
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
