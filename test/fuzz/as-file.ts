import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let folder: string | null = null;

/** Puts an input where a parser reads it by its path: always the same one of this thread, gone with the thread. */
export function asFile(bytes: Buffer): string {
  if (folder === null) {
    const made = mkdtempSync(join(tmpdir(), 'assay-fuzz-'));
    process.once('exit', () => rmSync(made, { recursive: true, force: true }));
    folder = made;
  }
  const path = join(folder, 'input');
  writeFileSync(path, bytes);
  return path;
}
