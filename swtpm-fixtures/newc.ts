/** An entry of an archive in the form newc; what is absent is as in most archives. */
export interface NewcEntry {
  readonly name: string | Buffer;
  readonly mode?: number;
  readonly content?: string | Buffer;
  readonly inode?: number;
  readonly links?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly device?: readonly [number, number];
  readonly magic?: string;
  readonly checksum?: number;
  /** Instead of the name's own with the zero after it. */
  readonly nameBytes?: number;
}

export const mode = {
  file: 0o100644,
  program: 0o100755,
  folder: 0o040755,
  link: 0o120777,
  character: 0o020600,
  block: 0o060660,
  pipe: 0o010600,
} as const;

/** Archives by hand: Documentation/driver-api/early-userspace/buffer-format.rst. */
export function newc(entries: readonly NewcEntry[], { trailer = true }: { trailer?: boolean } = {}): Buffer {
  const all = trailer ? [...entries, { name: 'TRAILER!!!', mode: 0 }] : entries;
  return Buffer.concat(all.map(newcEntry));
}

export function newcEntry(entry: NewcEntry, index = 0): Buffer {
  const { inode = 1000 + index, uid = 0, gid = 0, links = 1, device = [0, 0], magic = '070701' } = entry;
  const name = Buffer.concat([Buffer.from(entry.name), Buffer.alloc(1)]);
  const content = Buffer.from(entry.content ?? '');
  const fields = [
    ...[inode, entry.mode ?? mode.file, uid, gid, links, 0, content.length, 8, 1, ...device],
    ...[entry.nameBytes ?? name.length, entry.checksum ?? 0],
  ].map((value) => value.toString(16).padStart(8, '0'));
  return Buffer.concat([
    filled(Buffer.concat([Buffer.from(magic + fields.join('')), name])),
    filled(content),
  ]);
}

/** Up to the next multiple of four. */
function filled(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

export const folder = (name: string): NewcEntry => ({ name, mode: mode.folder, links: 2 });
export const file = (name: string, content: string | Buffer): NewcEntry => ({ name, content });
export const link = (name: string, to: string): NewcEntry => ({ name, mode: mode.link, content: to });
