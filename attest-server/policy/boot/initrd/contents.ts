import { S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG, typeOfMode } from '../../../formats/file-type.ts';
import type { InitrdEntry, InitrdManifest } from '../../../formats/initrd-manifest.ts';
import { mergedUsr } from '../../../formats/merged-usr.ts';

/** The content of an initrd after the kernel unpacked it, as far as one judgement looks into it. */
export class InitrdContents {
  readonly #entries: ReadonlyMap<string, InitrdEntry>;
  readonly #unseen: readonly InitrdEntry[];
  readonly #contents: InitrdManifest['contents'];

  #bytesLeft = mostLookedAt.bytes;
  #placesLeft = mostLookedAt.places;
  #placesInStep = 0;

  private constructor(
    entries: ReadonlyMap<string, InitrdEntry>,
    unseen: readonly InitrdEntry[],
    contents: InitrdManifest['contents'],
  ) {
    this.#entries = entries;
    this.#unseen = unseen;
    this.#contents = contents;
  }

  /** In steps of some milliseconds. */
  static *of({ entries, contents }: InitrdManifest): Generator<void, InitrdContents> {
    const standing = new Map<string, InitrdEntry>();
    const unseen: InitrdEntry[] = [];
    for (const [index, entry] of entries.entries()) {
      if (entry.replaced !== true && entry.unmade !== true) standing.set(entry.path, entry);
      else if (entry.unmade === true || isReadEarly(entry)) unseen.push(entry);
      if (index % entriesInStep === entriesInStep - 1) yield;
    }
    return new InitrdContents(standing, unseen, contents);
  }

  /** The entry of each path that counts, and whatever else the kernel may have read: before that came, or without making it. */
  *entries(): Generator<InitrdEntry> {
    yield* this.#entries.values();
    yield* this.#unseen;
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

  /** The bytes of a file; null if the manifest does not keep them, or too much was looked at. */
  bytesOf({ sha256 }: InitrdEntry): Buffer | null {
    const kept = sha256 === undefined ? undefined : this.#contents[sha256];
    if (kept === undefined) return null;
    // Attack: one long file, at all the paths that a rule reads.
    this.#bytesLeft -= kept.length;
    return this.#bytesLeft < 0 ? null : Buffer.from(kept, 'base64');
  }

  /** Whether so many places of a file may still be compared. Attack: files that packages have at a thousand paths, at all others. */
  mayCompare(places: number): boolean {
    this.#placesLeft -= places;
    this.#placesInStep += places;
    return this.#placesLeft >= 0;
  }

  /** True if so many places were compared since it was asked last that others should come in between. */
  tookLong(): boolean {
    if (this.#placesInStep < placesInStep) return false;
    this.#placesInStep = 0;
    return true;
  }
}

/**
 * Files that the kernel looks for by name before it unpacks anything, where the first one counts (find_cpio_data). Attack: a
 * table of the firmware or microcode, behind which a good one stands.
 */
function isReadEarly({ path }: InitrdEntry): boolean {
  return path.startsWith('kernel/');
}

/** Contents are 8 MiB, and each is read some three times; of a file there are some ten places. */
const mostLookedAt = { bytes: 64 * 1024 * 1024, places: 500_000 };
const entriesInStep = 8192;
const placesInStep = 512;

const types: ReadonlyMap<number, EntryType> = new Map([
  [S_IFDIR, 'directory'],
  [S_IFREG, 'file'],
  [S_IFLNK, 'link'],
  [S_IFCHR, 'device'],
]);
export type EntryType = 'directory' | 'file' | 'link' | 'device' | 'other';

export function typeOf({ mode }: InitrdEntry): EntryType {
  return types.get(typeOfMode(mode)) ?? 'other';
}

export function isExecutable({ mode }: InitrdEntry): boolean {
  return (mode & 0o111) !== 0;
}
