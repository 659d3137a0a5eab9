const headerWords = 13;
const magic = '070701';

/** A file that systemd-stub hands to the kernel: it packs each into an archive of its own, in folder `.extra`. */
export function stubArchive(name: string, content: Buffer): Buffer {
  return Buffer.concat([
    entry('.extra', 0o040555, 1, Buffer.alloc(0)),
    entry(`.extra/${name}`, 0o100444, 2, content),
    entry('TRAILER!!!', 0, 0, Buffer.alloc(0)),
  ]);
}

/** The initrd that a kernel gets of several: each begins at a multiple of four bytes. */
export function combinedInitrd(parts: readonly Buffer[]): readonly Buffer[] {
  return parts.length < 2 ? parts : parts.flatMap((part) => [part, padding(part.length)]);
}

/** Zeros up to the next multiple of four. */
export function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}

/** `newc` as the kernel unpacks it: Documentation/driver-api/early-userspace/buffer-format.rst. */
function entry(name: string, mode: number, inode: number, content: Buffer): Buffer {
  const words = new Array<number>(headerWords).fill(0);
  words[0] = inode;
  words[1] = mode;
  words[4] = 1;
  words[6] = content.length;
  words[11] = name.length + 1;
  // The stub writes digits in lower case, and its last entry in upper case.
  const digits = words.map((word) => word.toString(16).padStart(8, '0')).join('');
  const head = Buffer.from(`${magic}${mode === 0 ? digits.toUpperCase() : digits}${name}\0`, 'latin1');
  return Buffer.concat([head, padding(head.length), content, padding(content.length)]);
}
