import type { InitrdEntry, InitrdManifest } from '../../../protocol/initrd-manifest.ts';
import { mergedUsr } from '../../../protocol/merged-usr.ts';

/** What stands in an initrd when the kernel has unpacked it. */
export class InitrdContents {
  readonly #entries: ReadonlyMap<string, InitrdEntry>;
  readonly #contents: InitrdManifest['contents'];

  constructor({ entries, contents }: InitrdManifest) {
    this.#entries = new Map(entries.filter(({ replaced }) => !replaced).map((entry) => [entry.path, entry]));
    this.#contents = contents;
  }

  /** Of each path the one that counts. */
  entries(): Iterable<InitrdEntry> {
    return this.#entries.values();
  }

  /** @param path with or without a slash before it; folders that are links into /usr elsewhere may be some here */
  at(path: string): InitrdEntry | null {
    const absolute = `/${path.replace(/^\/+/, '')}`;
    const names = [absolute, mergedUsr(absolute), absolute.replace(/^\/usr(?=\/(?:s?bin|lib)\/)/, '')];
    for (const name of names) {
      const entry = this.#entries.get(name.slice(1));
      if (entry !== undefined) return entry;
    }
    return null;
  }

  /** What a file holds; null where the manifest does not keep it. */
  bytesOf({ sha256 }: InitrdEntry): Buffer | null {
    const kept = sha256 === undefined ? undefined : this.#contents[sha256];
    return kept === undefined ? null : Buffer.from(kept, 'base64');
  }
}

/** By the bits of `st_mode` that say it (inode(7)). */
const types: ReadonlyMap<number, EntryType> = new Map([
  [0o040000, 'directory'],
  [0o100000, 'file'],
  [0o120000, 'link'],
  [0o020000, 'device'],
]);
export type EntryType = 'directory' | 'file' | 'link' | 'device' | 'other';

export function typeOf({ mode }: InitrdEntry): EntryType {
  return types.get(mode & 0o170000) ?? 'other';
}

export function isExecutable({ mode }: InitrdEntry): boolean {
  return (mode & 0o111) !== 0;
}
