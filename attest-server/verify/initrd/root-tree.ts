import type { InitrdEntry } from '../../protocol/initrd-manifest.ts';
import { type Header, PATH_MAX, typeOf } from './cpio-header.ts';

/**
 * What the kernel makes of an initrd's entries: folders and files in memory, as init/initramfs.c makes them of one entry after
 * the other. Where that would not do what an archive says, there is a fault instead of a guess.
 */
export class RootTree {
  readonly #root: Folder = newFolder('', null);
  readonly #listed: Listed[] = [];
  /** Names of files with several, by inode, until the archive ends. */
  #links = new Map<string, { readonly name: string; node: Node | null }>();
  #steps = 0;

  constructor() {
    // What each kernel has of itself (usr/default_cpio_list): an entry of that path finds it there.
    const dev = newFolder('dev', this.#root);
    dev.children.set('console', { node: { type: S_IFCHR, mode: 0o20600, device: [5, 1] }, listed: null });
    this.#root.children.set('dev', { node: dev, listed: null });
    this.#root.children.set('root', { node: newFolder('root', this.#root), listed: null });
  }

  get size(): number {
    return this.#listed.length;
  }

  /** `TRAILER!!!`: files of the next archive are no links to those of this one. */
  endArchive(): void {
    this.#links = new Map();
  }

  /**
   * A symbolic link, folder, device or socket.
   * @throws PathFault; the entry is listed nevertheless
   */
  make(header: Header, name: string, target?: string): void {
    const listed = this.#list(header, name, target);
    const place = this.#placeOf(name, listed);
    if (place !== null) this.#makeAt(place, header, name, listed);
  }

  /** A file, before its bytes came, which are listed whatever its fault is. */
  makeFile(header: Header, name: string): MadeFile {
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
  fill({ listed, node }: MadeFile, bytes: number, sha256: string): void {
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

  #list({ mode, uid, gid, device }: Header, name: string, target?: string): Listed {
    const isDevice = typeOf(mode) === S_IFCHR || typeOf(mode) === S_IFBLK;
    const listed: Listed = {
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

  /** Where an entry goes, with links on the way followed; null where no such folder is. */
  #placeOf(name: string, listed: Listed): Place | null {
    const parts = partsOf(name);
    // Attack: a name that a reader of archives and the kernel take for two.
    if (parts.includes('..')) throw new PathFault('it leads to the folder above');
    const isFolder = typeOf(listed.mode) === S_IFDIR;
    if (name.endsWith('/') && !isFolder) throw new PathFault('it ends in a slash and is no folder');
    const last = parts.pop();
    const folder = this.#walk(parts);
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
    listed.path = path;
    return { folder, last, slot };
  }

  /** The folder of that path, as the kernel walks: links from where they lie, `..` of the root is the root. */
  #walk(parts: readonly string[]): Folder | null {
    const ahead = [...parts].reverse();
    let at = this.#root;
    let links = 0;
    for (let steps = 0; ; steps++) {
      const part = ahead.pop();
      if (part === undefined) return at;
      if (steps >= most.stepsOfEntry || ++this.#steps > most.steps)
        throw new PathFault('there are too many folders and links on the way');
      checkLength(part);
      if (part === '..') {
        at = at.parent ?? at;
        continue;
      }
      const node = at.children.get(part)?.node;
      if (node === undefined) return null;
      if (isFolder(node)) at = node;
      else if (node.target === undefined) throw new PathFault('what it is to lie in is no folder');
      else {
        if (++links > most.links) throw new PathFault('its links lead round in a circle');
        if (node.target.startsWith('/')) at = this.#root;
        ahead.push(...partsOf(node.target).reverse());
      }
    }
  }

  #makeAt({ folder, last, slot }: Place, header: Header, name: string, listed: Listed): void {
    const type = typeOf(header.mode);
    if (folder === null) {
      this.#take(listed, this.#root, this.#rootListed, header);
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

  #rootListed: Listed | null = null;

  #openAt({ folder, last, slot }: Place, header: Header, name: string, listed: Listed): Node {
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
    // Attack: a file that is there is written anew in place, and with it what has other names.
    const node = there?.node ?? newNode(S_IFREG, folder, listed);
    this.#take(listed, node, there?.listed ?? null, header);
    folder.children.set(last, { node, listed });
    this.#remember(header, node);
    return node;
  }

  /** Another name of a file that came before in this archive, if the entry is one. */
  #linkTo(header: Header, name: string, folder: Folder, last: string, listed: Listed): Node | undefined {
    if (header.links < 2) return undefined;
    const first = this.#links.get(header.inode);
    if (first === undefined) {
      this.#links.set(header.inode, { name, node: null });
      return undefined;
    }
    const there = folder.children.get(last);
    if (there !== undefined) remove(folder, last, there);
    // Attack: a link put in the place of the first name has the kernel write where that link leads.
    const parts = partsOf(first.name);
    const firstName = parts.pop() ?? '';
    const node = this.#walk(parts)?.children.get(firstName)?.node;
    if (node === undefined || node !== first.node)
      throw new PathFault('it is another name of a file that is no longer there');
    this.#take(listed, node, null, header);
    folder.children.set(last, { node, listed });
    return node;
  }

  /** The kernel remembers the name of a file that it could not make. */
  #linkMissing(header: Header, name: string): null {
    if (header.links < 2) return null;
    const first = this.#links.get(header.inode);
    if (first !== undefined) throw new PathFault('it is another name of a file, and its folder is not there');
    this.#links.set(header.inode, { name, node: null });
    return null;
  }

  #remember({ links, inode }: Header, node: Node): void {
    const first = links < 2 ? undefined : this.#links.get(inode);
    if (first !== undefined && first.node === null) first.node = node;
  }

  #take(listed: Listed, node: Node, before: Listed | null, { mode, uid, gid }: Header): void {
    delete listed.unmade;
    if (before !== null) before.replaced = true;
    listed.node = node;
    node.mode = mode;
    node.uid = uid;
    node.gid = gid;
  }
}

/** What the kernel could not make as it stands, or would make elsewhere. */
export class PathFault extends Error {}

/** A file between its name and its bytes. */
export interface MadeFile {
  readonly listed: Listed;
  readonly node: Node | null;
  readonly fault: PathFault | null;
}

const S_IFBLK = 0o060000;
const S_IFCHR = 0o020000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;
const S_IFREG = 0o100000;
const NAME_MAX = 255;
/** Links that the kernel follows for one path; folders and links that are walked for one entry, and for all. */
const most = { links: 40, stepsOfEntry: 1024, steps: 4_000_000 };

interface Node {
  readonly type: number;
  mode: number;
  uid?: number;
  gid?: number;
  /** Of the file as it is now. */
  content?: { readonly bytes: number; readonly sha256: string };
  readonly target?: string;
  readonly device?: readonly [number, number];
}

interface Folder extends Node {
  readonly path: string;
  readonly parent: Folder | null;
  readonly children: Map<string, Slot>;
}

interface Slot {
  readonly node: Node;
  readonly listed: Listed | null;
}

interface Place {
  /** Null: the root itself. */
  readonly folder: Folder | null;
  readonly last: string;
  readonly slot: Slot | null;
}

/** An entry as it came, and what became of it. */
type Listed = { -readonly [Member in keyof InitrdEntry]: InitrdEntry[Member] } & {
  node?: Node;
  linked?: true;
};

function newFolder(path: string, parent: Folder | null): Folder {
  return { type: S_IFDIR, mode: S_IFDIR, path, parent, children: new Map() };
}

function newNode(type: number, parent: Folder, { path, target, device }: Listed): Node {
  if (type === S_IFDIR) return newFolder(path, parent);
  return {
    type,
    mode: type,
    ...(target === undefined ? {} : { target }),
    ...(device === undefined ? {} : { device }),
  };
}

function isFolder(node: Node): node is Folder {
  return node.type === S_IFDIR;
}

function remove(folder: Folder, last: string, { node, listed }: Slot): void {
  if (isFolder(node) && node.children.size > 0)
    throw new PathFault('it would take the place of a folder that is not empty');
  if (listed !== null) listed.replaced = true;
  folder.children.delete(last);
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function pathOf(parts: readonly string[]): string {
  return parts.length === 0 ? '.' : parts.join('/');
}

function checkLength(part: string): void {
  if (part.length > NAME_MAX / 4 && Buffer.byteLength(part) > NAME_MAX)
    throw new PathFault('a part of its name is too long');
}

type Attributes = Pick<InitrdEntry, 'mode' | 'uid' | 'gid' | 'bytes' | 'sha256' | 'device'>;

/** @param now as it came, or as it is in the end, whichever of its names is asked */
function entryOf({ path, target, replaced, unmade }: Listed, now: Attributes): InitrdEntry {
  const entry: { -readonly [Member in keyof InitrdEntry]: InitrdEntry[Member] } = { path, mode: now.mode };
  if (now.uid) entry.uid = now.uid;
  if (now.gid) entry.gid = now.gid;
  if (now.bytes !== undefined) entry.bytes = now.bytes;
  if (now.sha256 !== undefined) entry.sha256 = now.sha256;
  if (target !== undefined) entry.target = target;
  if (now.device !== undefined) entry.device = now.device;
  if (replaced) entry.replaced = true;
  if (unmade) entry.unmade = true;
  return entry;
}
