import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GeneratedFiles } from './list.ts';

/** Which files of a tree are not as they are made. */
export function outOfDate(tree: string, made: GeneratedFiles): readonly string[] {
  const kept = (file: string) => {
    const path = join(tree, file);
    return existsSync(path) ? readFileSync(path, 'utf8') : null;
  };
  return [...made].filter(([file, text]) => kept(file) !== text).map(([file]) => file);
}
