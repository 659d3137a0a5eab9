import { S_IFCHR, S_IFDIR } from '../../formats/file-type.ts';
import type { Inode, ListedEntry } from './listed-entry.ts';

/** The folders of a kernel that unpacks an initrd, and the way through them. */
export class Folders {
  readonly root: Folder = newFolder('', null);
  #steps = 0;

  constructor() {
    // What each kernel has of itself (usr/default_cpio_list): an entry of that path finds it there.
    const dev = newFolder('dev', this.root);
    dev.children.set('console', { node: { type: S_IFCHR, mode: 0o20600, device: [5, 1] }, listed: null });
    this.root.children.set('dev', { node: dev, listed: null });
    this.root.children.set('root', { node: newFolder('root', this.root), listed: null });
  }

  /** The folder of that path, as the kernel walks: links from where they lie, `..` of the root is the root. @throws PathFault */
  walk(parts: readonly string[]): Folder | null {
    const ahead = [...parts].reverse();
    let at = this.root;
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
        if (node.target.startsWith('/')) at = this.root;
        ahead.push(...partsOf(node.target).reverse());
      }
    }
  }
}

/** A path that the kernel could not make as it stands, or would make elsewhere. */
export class PathFault extends Error {}

export interface Folder extends Inode {
  readonly path: string;
  readonly parent: Folder | null;
  readonly children: Map<string, Slot>;
}

export interface Slot {
  readonly node: Inode;
  readonly listed: ListedEntry | null;
}

/** Links that the kernel follows for one path; folders and links that are walked for one entry, and for all. */
const most = { links: 40, stepsOfEntry: 1024, steps: 4_000_000 };
const NAME_MAX = 255;

function newFolder(path: string, parent: Folder | null): Folder {
  return { type: S_IFDIR, mode: S_IFDIR, path, parent, children: new Map() };
}

export function newNode(type: number, parent: Folder, { path, target, device }: ListedEntry): Inode {
  if (type === S_IFDIR) return newFolder(path, parent);
  return {
    type,
    mode: type,
    ...(target === undefined ? {} : { target }),
    ...(device === undefined ? {} : { device }),
  };
}

function isFolder(node: Inode): node is Folder {
  return node.type === S_IFDIR;
}

/** @throws PathFault for a folder in which something is */
export function remove(folder: Folder, last: string, { node, listed }: Slot): void {
  if (isFolder(node) && node.children.size > 0)
    throw new PathFault('it would take the place of a folder that is not empty');
  if (listed !== null) listed.replaced = true;
  folder.children.delete(last);
}

/** The names in a path, without those that say nothing. */
export function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

/** @throws PathFault */
export function checkLength(part: string): void {
  if (part.length > NAME_MAX / 4 && Buffer.byteLength(part) > NAME_MAX)
    throw new PathFault('a part of its name is too long');
}
