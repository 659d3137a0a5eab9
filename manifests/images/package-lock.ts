import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const lock = z.object({
  packages: z.record(
    z.string(),
    z.object({ version: z.string().optional(), integrity: z.string().optional() }),
  ),
});

/** npm packages by their path, as package-lock.json pins them. @param root the clone */
export function readLocked(root: string): z.output<typeof lock>['packages'] {
  return lock.parse(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))).packages;
}

/** Digests of npm packages by their paths. @param root the clone */
export function readIntegrity(root: string): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(readLocked(root)).flatMap(([path, { integrity }]) =>
      integrity ? [[path, integrity] as const] : [],
    ),
  );
}
