import { mkdtempSync, realpathSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';

/** A real file system of its own, of a few MiB. */
export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  /** Fills it to the last byte with a file of somebody else. */
  fill(): void;
  /** The same, up to where so many bytes are free. */
  fillUpTo(left: number): void;
  /** Takes that file away again. */
  empty(): void;
  free(): number;
}

const bounds = { timeoutMs: 10_000, maxOutputBytes: 64 * 1024 };

/** @returns null where this user may not mount one */
export async function smallDisk(mebibytes: number): Promise<SmallDisk | null> {
  if (process.geteuid?.() !== 0) return null;
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'assay-disk-')));
  await run('mount', ['-n', '-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=0700`, 'tmpfs', path], bounds);
  const others = join(path, 'others');
  const free = () => {
    const { bfree, bsize } = statfsSync(path);
    return bfree * bsize;
  };
  return {
    path,
    free,
    fill() {
      const block = Buffer.alloc(4096, 1);
      while (free() > 0) writeFileSync(others, block, { flag: 'a' });
    },
    fillUpTo: (left) => writeFileSync(others, Buffer.alloc(Math.max(0, free() - left), 1), { flag: 'a' }),
    empty: () => rmSync(others, { force: true }),
    async [Symbol.asyncDispose]() {
      await run('umount', ['-n', path], bounds);
      rmdirSync(path);
    },
  };
}
