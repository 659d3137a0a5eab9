/** The two bytes by which the kernel knows how something is packed: lib/decompress.c. */
const magics = [
  { bytes: 0x1f8b, name: 'gzip' },
  { bytes: 0x1f9e, name: 'gzip of the old form' },
  { bytes: 0x425a, name: 'bzip2' },
  { bytes: 0x5d00, name: 'lzma' },
  { bytes: 0xfd37, name: 'xz' },
  { bytes: 0x894c, name: 'lzo' },
  { bytes: 0x0221, name: 'lz4' },
  { bytes: 0x28b5, name: 'zstd' },
] as const;

export type Compression = (typeof magics)[number]['name'];

/** Null: the kernel knows it not either. */
export function compressionOf(first: number, second: number): Compression | null {
  return magics.find(({ bytes }) => bytes === first * 256 + second)?.name ?? null;
}

/** The bytes at an image's end that show a boot configuration: its magic, and three bytes with which loaders fill up. */
export const tailBytes = 15;

/**
 * Attack: a kernel takes a boot configuration off the image's end before it unpacks it, even from within an archive's last
 * file, and adds it to its command line (Documentation/admin-guide/bootconfig.rst).
 */
export function hasBootConfig(tail: Buffer): boolean {
  return tail.includes('#BOOTCONFIG\n');
}
