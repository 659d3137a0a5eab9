import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ToolError } from './tool-error.ts';

/** A folder in memory, mode 0700, for what tools hand over as files. */
export interface MemoryDir {
  readonly path: string;
  /** Removes it with all it holds; may be called again. */
  remove(): void;
}

/**
 * Makes a private folder below `parent`, by default /dev/shm or /run: never on a disk. It is removed by `remove`,
 * when `signal` aborts, and when the process exits.
 * @throws ToolError `bad_input`
 */
export function makeMemoryDir(parent: string | undefined, signal?: AbortSignal): MemoryDir {
  const place = parent ?? ['/dev/shm', '/run'].find((path) => existsSync(path)) ?? '/dev/shm';
  const path = makeFolder(place);
  const remove = () => {
    process.off('exit', remove);
    signal?.removeEventListener('abort', remove);
    rmSync(path, { recursive: true, force: true });
  };
  process.once('exit', remove);
  signal?.addEventListener('abort', remove, { once: true });
  if (signal?.aborted) remove();
  return { path, remove };
}

function makeFolder(place: string): string {
  try {
    return mkdtempSync(join(place, 'node-tpm2-'));
  } catch (cause) {
    throw new ToolError(`no private folder could be made in ${place}: pass a runtimeDir in memory (tmpfs)`, {
      code: 'bad_input',
      tool: 'mkdtemp',
      cause,
    });
  }
}
