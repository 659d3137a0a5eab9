import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Fault } from './fault.ts';

const entry = z.object({
  version: z.string().optional(),
  resolved: z.string().optional(),
  integrity: z.string().optional(),
  link: z.boolean().optional(),
});
const lockfile = z.object({ lockfileVersion: z.int(), packages: z.record(z.string(), entry) });
const dependencies = z.record(z.string(), z.string()).default({});
const manifest = z.object({
  dependencies,
  devDependencies: dependencies,
  optionalDependencies: dependencies,
});

/** That each package is named by its bytes, and by no host; and that what we ask for is one version each. */
export function checkLockfile(tree: string): readonly Fault[] {
  const json = (file: string): unknown => JSON.parse(readFileSync(join(tree, file), 'utf8'));
  const { lockfileVersion, packages } = lockfile.parse(json('package-lock.json'));
  const wanted = Object.values(manifest.parse(json('package.json'))).flatMap((kind) => Object.entries(kind));
  const renew = 'Make the lockfile anew: npm install --package-lock-only, with the .npmrc of this folder.';
  return [
    ...(lockfileVersion === 3
      ? []
      : [{ what: `package-lock.json: lockfileVersion is ${lockfileVersion}, not 3`, next: renew }]),
    ...Object.entries(packages)
      .filter(([path, { link }]) => path.includes('node_modules/') && link !== true)
      .flatMap(([path, { integrity, resolved }]) => [
        ...(integrity?.startsWith('sha512-') === true
          ? []
          : [{ what: `package-lock.json: ${path} has no SHA-512 of its bytes (integrity)`, next: renew }]),
        ...(resolved === undefined
          ? []
          : [{ what: `package-lock.json: ${path} names a host (resolved)`, next: renew }]),
      ]),
    ...wanted.flatMap(([name, version]) => {
      const locked = packages[`node_modules/${name}`]?.version;
      if (locked === version) return [];
      const what = `package.json: ${name} is ${version}, and the lockfile has ${locked ?? 'none'}`;
      return [{ what, next: 'Name the one version that is locked.' }];
    }),
  ];
}
