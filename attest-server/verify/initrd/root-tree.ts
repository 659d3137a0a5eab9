import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG, typeOfMode } from '../../formats/file-type.ts';
import type { InitrdEntry } from '../../formats/initrd-manifest.ts';
import { type CpioHeader, PATH_MAX } from './cpio-header.ts';
import {
  checkLength,
  type Folder,
  Folders,
  newNode,
  PathFault,
  partsOf,
  remove,
  type Slot,
} from './folders.ts';
import { entryOf, type Inode, type ListedEntry } from './listed-entry.ts';

/**
 * The tree that the kernel makes of an initrd's entries: folders and files in memory, as init/initramfs.c makes them of one
 * entry after the other. Where that would not do what an archive says, there is a fault instead of a guess.
 */
export class RootTree {
  readonly #folders = new Folders();
  readonly #listed: ListedEntry[] = [];
  /** Names of files with several, by inode, until the archive ends. */
  #links = new Map<string, { readonly name: string; node: Inode | null }>();
  /** The entry that is the root itself. */
  #rootListed: ListedEntry | null = null;

  get size(): number {
    return this.#listed.length;
  }

  /** Whether a file that comes, also of the next image, may be another name of one that is here. */
  get mayGoOn(): boolean {
    return this.#links.size > 0;
  }

  /** `TRAILER!!!`: files of the next archive are no links to those of this one. */
  endArchive(): void {
    this.#links = new Map();
  }

  /**
   * A symbolic link, folder, device or socket.
   * @throws PathFault; the entry is listed nevertheless
   */
  make(header: CpioHeader, name: string, target?: string): void {
    const listed = this.#list(header, name, target);
    const place = this.#placeOf(name, listed);
    if (place !== null) this.#makeAt(place, header, name, listed);
  }

  /** A file, before its bytes came, which are listed whatever its fault is. */
  makeFile(header: CpioHeader, name: string): CreatedFile {
    const listed = this.#list(header, name);
    try {
      const place = this.#placeOf(name, listed);
      const node =
        place === null ? this.#linkMissing(header, name) : this.#openAt(place, header, name, listed);
      return { listed, node, fault: null };
    } catch (error) {
      if (!(error instanceof PathFault)) throw error;
      return { listed, node: null, fault: error };
    }
  }

  /** The bytes of a file came. */
  fill({ listed, node }: CreatedFile, bytes: number, sha256: string): void {
    listed.bytes = bytes;
    listed.sha256 = sha256;
    // A name of a file that is there already and brings no bytes leaves it as it is.
    if (node === null || (bytes === 0 && listed.linked === true)) return;
    node.content = { bytes, sha256 };
  }

  /** All entries in their order. Content that another one overwrote is listed by itself. */
  entries(): readonly InitrdEntry[] {
    const all: InitrdEntry[] = [];
    for (const listed of this.#listed) {
      const { node, replaced } = listed;
      if (node === undefined || replaced === true) {
        all.push(entryOf(listed, listed));
        continue;
      }
      if ((listed.bytes ?? 0) > 0 && node.content?.sha256 !== listed.sha256)
        all.push(entryOf({ ...listed, replaced: true }, listed));
      all.push(entryOf(listed, { ...node, ...node.content }));
    }
    return all;
  }

  #list({ mode, uid, gid, device }: CpioHeader, name: string, target?: string): ListedEntry {
    const isDevice = typeOfMode(mode) === S_IFCHR || typeOfMode(mode) === S_IFBLK;
    const listed: ListedEntry = {
      path: pathOf(partsOf(name)),
      mode,
      uid,
      gid,
      ...(target === undefined ? {} : { target }),
      ...(isDevice ? { device } : {}),
      unmade: true,
    };
    this.#listed.push(listed);
    return listed;
  }

  /** Where an entry goes, with links on the way followed; null if no such folder is. */
  #placeOf(name: string, listed: ListedEntry): PathLookup | null {
    const parts = partsOf(name);
    // Attack: a name that a reader of archives and the kernel take for two.
    if (parts.includes('..')) throw new PathFault('it leads to the folder above');
    const isFolder = typeOfMode(listed.mode) === S_IFDIR;
    if (name.endsWith('/') && !isFolder) throw new PathFault('it ends in a slash and is no folder');
    const last = parts.pop();
    const folder = this.#folders.walk(parts);
    if (folder === null) return null;
    if (last === undefined) {
      if (!isFolder) throw new PathFault('it would be the root itself');
      return { folder: null, last: '', slot: null };
    }
    checkLength(last);
    const slot = folder.children.get(last) ?? null;
    if (name.endsWith('/') && slot?.node.type === S_IFLNK)
      throw new PathFault('it ends in a slash, and what is there is a link');
    const path = folder.path === '' ? last : `${folder.path}/${last}`;
    if (path.length > PATH_MAX) throw new PathFault('its folder lies too deep');
    // Attack: the kernel finds it by this name before links are made, and here it would be listed as something else.
    if (parts[0] === 'kernel' && !path.startsWith('kernel/'))
      throw new PathFault('what is read early from kernel/ would lie elsewhere');
    listed.path = path;
    return { folder, last, slot };
  }

  #makeAt({ folder, last, slot }: PathLookup, header: CpioHeader, name: string, listed: ListedEntry): void {
    const type = typeOfMode(header.mode);
    if (folder === null) {
      this.#take(listed, this.#folders.root, this.#rootListed, header);
      this.#rootListed = listed;
      return;
    }
    let there = slot;
    if (there !== null && (type === S_IFLNK || there.node.type !== type)) {
      remove(folder, last, there);
      there = null;
    }
    if (type !== S_IFLNK && type !== S_IFDIR) {
      const link = this.#linkTo(header, name, folder, last, listed);
      if (link !== undefined) return;
    }
    // What is there already stays, as mkdir and mknod fail; owner and mode are set nevertheless.
    const node = there?.node ?? newNode(type, folder, listed);
    this.#take(listed, node, there?.listed ?? null, header);
    folder.children.set(last, { node, listed });
    this.#remember(header, node);
  }

  #openAt({ folder, last, slot }: PathLookup, header: CpioHeader, name: string, listed: ListedEntry): Inode {
    if (folder === null) throw new PathFault('it would be the root itself');
    let there = slot;
    if (there !== null && there.node.type !== S_IFREG) {
      remove(folder, last, there);
      there = null;
    }
    const linked = this.#linkTo(header, name, folder, last, listed);
    if (linked !== undefined) {
      listed.linked = true;
      return linked;
    }
    // Attack: a file that is there is rewritten in place, and with it what has other names.
    const node = there?.node ?? newNode(S_IFREG, folder, listed);
    this.#take(listed, node, there?.listed ?? null, header);
    folder.children.set(last, { node, listed });
    this.#remember(header, node);
    return node;
  }

  /** Adds another name of a file that came before in this archive, if the entry is one. */
  #linkTo(
    header: CpioHeader,
    name: string,
    folder: Folder,
    last: string,
    listed: ListedEntry,
  ): Inode | undefined {
    if (header.links < 2) return undefined;
    const first = this.#links.get(header.inode);
    if (first === undefined) {
      this.#links.set(header.inode, { name, node: null });
      return undefined;
    }
    const there = folder.children.get(last);
    if (there !== undefined) remove(folder, last, there);
    // Attack: a link put in place of the first name has the kernel write where that link leads.
    const parts = partsOf(first.name);
    const firstName = parts.pop() ?? '';
    const node = this.#folders.walk(parts)?.children.get(firstName)?.node;
    if (node === undefined || node !== first.node)
      throw new PathFault('it is another name of a file that is no longer there');
    this.#take(listed, node, null, header);
    folder.children.set(last, { node, listed });
    return node;
  }

  /** The kernel remembers the name of a file that it could not make. */
  #linkMissing(header: CpioHeader, name: string): null {
    if (header.links < 2) return null;
    const first = this.#links.get(header.inode);
    if (first !== undefined) throw new PathFault('it is another name of a file, and its folder is not there');
    this.#links.set(header.inode, { name, node: null });
    return null;
  }

  #remember({ links, inode }: CpioHeader, node: Inode): void {
    const first = links < 2 ? undefined : this.#links.get(inode);
    if (first !== undefined && first.node === null) first.node = node;
  }

  #take(listed: ListedEntry, node: Inode, before: ListedEntry | null, { mode, uid, gid }: CpioHeader): void {
    delete listed.unmade;
    if (before !== null) before.replaced = true;
    listed.node = node;
    node.mode = mode;
    node.uid = uid;
    node.gid = gid;
  }
}

/** A file between its name and its bytes. */
export interface CreatedFile {
  readonly listed: ListedEntry;
  readonly node: Inode | null;
  readonly fault: PathFault | null;
}

interface PathLookup {
  /** Null: the root itself. */
  readonly folder: Folder | null;
  readonly last: string;
  readonly slot: Slot | null;
}

function pathOf(parts: readonly string[]): string {
  return parts.length === 0 ? '.' : parts.join('/');
}
