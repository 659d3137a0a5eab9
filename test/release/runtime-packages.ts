import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/** A package that runs beside our code. */
export interface RuntimePackage {
  readonly name: string;
  readonly version: string;
  /** SPDX expression, by its package.json; null where it is not installed or names none. */
  readonly license: string | null;
  /** The text of each file about it, by name. */
  readonly texts: ReadonlyMap<string, string>;
}

const lockfile = z.object({
  packages: z.record(
    z.string(),
    z.object({
      version: z.string().optional(),
      license: z.string().optional(),
      dev: z.boolean().optional(),
      link: z.boolean().optional(),
    }),
  ),
});
const described = z.object({ license: z.string().optional() });

/** Those of the lockfile that are not only for tests; by name. */
export function readRuntimePackages(tree: string): readonly RuntimePackage[] {
  const { packages } = lockfile.parse(JSON.parse(readFileSync(join(tree, 'package-lock.json'), 'utf8')));
  return Object.entries(packages)
    .filter(([path, { dev, link }]) => path.startsWith('node_modules/') && dev !== true && link !== true)
    .map(([path, { version = '', license }]) => {
      const folder = join(tree, path);
      // Of one that lies in another, its own name.
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      // The pinned Node of another machine.
      if (!existsSync(folder)) return { name, version, license: license ?? null, texts: new Map() };
      const read = (file: string) => readFileSync(join(folder, file), 'utf8');
      const { license: its } = described.parse(JSON.parse(read('package.json')));
      const files = readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice)(\.|$)/i.test(file));
      return {
        name,
        version,
        license: its ?? null,
        texts: new Map(files.sort().map((file) => [file, read(file)])),
      };
    });
}
