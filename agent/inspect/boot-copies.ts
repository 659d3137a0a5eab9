import { hash } from 'node:crypto';
import { join } from 'node:path';
import { limits } from '../../attest-server/wire/limits.ts';
import { readBounded } from '../collectors/read-bounded.ts';
import { bootFolder, bootIndexBytes, bootIndexFile, parseBootIndex } from './boot-index.ts';
import { ageFault, inspectFolder } from './inspected-file.ts';

/** The output of `assay-agent inspect boot`, for the agent. */
export interface BootCopies {
  readonly files: readonly {
    readonly digests: readonly string[];
    readonly environment: boolean;
    /** Its bytes, which have its digest. @throws Error otherwise */
    readonly read: () => Promise<Buffer>;
  }[];
  /** Initrds, copied or not. */
  readonly initrds: readonly {
    readonly digests: readonly string[];
    /** Below the root. */
    readonly path: string;
    /** Path of the copy; null if there is none. */
    readonly copy: string | null;
  }[];
  /** Files that `inspect` could not look at, or left out. */
  readonly unread: readonly string[];
}

/** A text says why there are none that count. */
export async function readBootCopies(sysroot: string, signal: AbortSignal): Promise<BootCopies | string> {
  const folder = join(sysroot, inspectFolder, bootFolder);
  try {
    const bytes = await readBounded(join(folder, bootIndexFile), bootIndexBytes, signal);
    if (bytes === null) return 'assay-agent inspect wrote nothing: systemctl start assay-inspect';
    const { at, files, unread } = parseBootIndex(bytes);
    const fault = ageFault(at, Date.now());
    if (fault !== null) return fault;
    return {
      files: files
        .filter(({ copied, kind }) => copied && kind !== 'initrd')
        .map(({ sha256, sha384, sha512, kind, path }) => ({
          digests: [sha256, sha384, sha512],
          environment: kind === 'environment',
          read: async () => {
            const content = await readBounded(join(folder, sha256), limits.loaderFiles.each, signal);
            if (content === null || hash('sha256', content, 'hex') !== sha256)
              throw new Error(`the copy of ${path} is ${content === null ? 'gone' : 'another file'}`);
            return content;
          },
        })),
      initrds: files
        .filter(({ kind }) => kind === 'initrd')
        .map(({ sha256, sha384, sha512, path, copied }) => ({
          digests: [sha256, sha384, sha512],
          path,
          copy: copied ? join(folder, sha256) : null,
        })),
      unread,
    };
  } catch (error) {
    signal.throwIfAborted();
    return error instanceof Error ? error.message : String(error);
  }
}
