import type { InitrdEntry } from '../../formats/initrd-manifest.ts';

/** An entry as it came, and what became of it. */
export type ListedEntry = { -readonly [Member in keyof InitrdEntry]: InitrdEntry[Member] } & {
  node?: Inode;
  linked?: true;
};

/** A file as the kernel has it in memory: all of its names lead to one of these. */
export interface Inode {
  readonly type: number;
  mode: number;
  uid?: number;
  gid?: number;
  /** The content of the file as it is now. */
  content?: { readonly bytes: number; readonly sha256: string };
  readonly target?: string;
  readonly device?: readonly [number, number];
}

type Attributes = Pick<InitrdEntry, 'mode' | 'uid' | 'gid' | 'bytes' | 'sha256' | 'device'>;

/** @param now as it came, or as it is in the end, whichever of its names is asked */
export function entryOf({ path, target, replaced, unmade }: ListedEntry, now: Attributes): InitrdEntry {
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
