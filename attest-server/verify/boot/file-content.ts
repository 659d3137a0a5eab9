import type { FileContent } from '../../wire/loader-files.ts';
import { environmentLines } from './environment-block.ts';

/**
 * The kind of a file by its bytes, whatever it is called. Attack: a kernel and its initrd that the log calls configuration
 * files. A file that could be either, such as a font with the header of a kernel, is `code`.
 */
export function fileContent(bytes: Buffer): FileContent {
  if (isCode(bytes)) return 'code';
  if (archives.some((magic) => bytes.subarray(0, magic.length).equals(magic))) return 'archive';
  if (environmentLines(bytes) !== null) return 'environment';
  if (isText(bytes)) return 'text';
  if (isFont(bytes)) return 'font';
  return isModule(bytes) ? 'module' : 'other';
}

/** A PE image, and what GRUB starts by its own: kernels of x86 (HdrS), ARM and multiboot, and an ELF image that is no module. */
function isCode(bytes: Buffer): boolean {
  if (hasMultiboot(bytes)) return true;
  if (has(bytes, 0, 'MZ') || has(bytes, 0x202, 'HdrS') || has(bytes, 0x38, 'ARM\x64')) return true;
  return has(bytes, 0, '\x7fELF') && !isModule(bytes);
}

/** A header of either version, by its magic and checksum. Multiboot 0.6.96 and Multiboot2 2.0, section 3.1. */
function hasMultiboot(bytes: Buffer): boolean {
  const sum = (at: number, words: number) => {
    let total = 0;
    for (let word = 0; word < words; word++) total = (total + bytes.readUInt32LE(at + 4 * word)) >>> 0;
    return total;
  };
  return multiboot.some(({ magic, words, align, within }) => {
    for (let at = bytes.indexOf(magic); at >= 0 && at < within; at = bytes.indexOf(magic, at + 1))
      if (at % align === 0 && at + 4 * words <= bytes.length && sum(at, words) === 0) return true;
    return false;
  });
}

const multiboot = [
  { magic: Buffer.from('02b0ad1b', 'hex'), words: 3, align: 4, within: 8192 },
  { magic: Buffer.from('d65052e8', 'hex'), words: 4, align: 8, within: 32_768 },
] as const;

/** The archives that Linux unpacks as an initrd: cpio, and each compression that it knows. */
const archives: readonly Buffer[] = [
  Buffer.from('07070'),
  Buffer.of(0xc7, 0x71),
  Buffer.of(0x71, 0xc7),
  Buffer.of(0x1f, 0x8b),
  Buffer.of(0x1f, 0x9e),
  Buffer.from('BZh'),
  Buffer.of(0x5d, 0x00, 0x00),
  Buffer.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00),
  Buffer.of(0x89, 0x4c, 0x5a),
  Buffer.of(0x02, 0x21, 0x4c, 0x18),
  Buffer.of(0x04, 0x22, 0x4d, 0x18),
  Buffer.of(0x28, 0xb5, 0x2f, 0xfd),
  Buffer.from('hsqs'),
];

/** UTF-8 of lines: no NUL and no control character but tab, line feed, form feed and carriage return. */
function isText(bytes: Buffer): boolean {
  if (control.test(bytes.toString('latin1'))) return false;
  try {
    utf8.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
const control = /[\x00-\x08\x0b\x0e-\x1f\x7f]/;

/**
 * GRUB's font format: sections of a name, a length and so many bytes, up to DATA, which reaches to the end. GRUB manual,
 * "PFF2".
 */
function isFont(bytes: Buffer): boolean {
  if (!has(bytes, 0, 'FILE\0\0\0\x04PFF2')) return false;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const name = bytes.toString('latin1', at, at + 4);
    if (!sections.has(name)) return false;
    if (name === 'DATA') return true;
    at += 8 + bytes.readUInt32BE(at + 4);
  }
  return false;
}

const sections: ReadonlySet<string> = new Set([
  'NAME',
  'FAMI',
  'WEIG',
  'SLAN',
  'PTSZ',
  'MAXW',
  'MAXH',
  'ASCE',
  'DESC',
  'CHIX',
  'DATA',
]);

/** A relocatable ELF object with the sections that GRUB wants of a module; nothing else starts such a file. */
function isModule(bytes: Buffer): boolean {
  const names = sectionNames(bytes);
  return names !== null && (names.has('.modname') || names.has('.module_license'));
}

/** Section names of a relocatable ELF object, either width, little endian; null for anything else. System V ABI, "Object Files". */
function sectionNames(bytes: Buffer): ReadonlySet<string> | null {
  if (!has(bytes, 0, '\x7fELF') || bytes.length < 64 || bytes[5] !== 1) return null;
  const isWide = bytes[4] === 2;
  if (bytes.readUInt16LE(16) !== relocatable) return null;
  const table = isWide ? Number(bytes.readBigUInt64LE(40)) : bytes.readUInt32LE(32);
  const [size, count, ofNames] = [0, 2, 4].map((more) => bytes.readUInt16LE((isWide ? 58 : 46) + more));
  if (size !== (isWide ? 64 : 40) || count === undefined || ofNames === undefined || ofNames >= count)
    return null;
  if (table + count * size > bytes.length) return null;
  const header = table + ofNames * size;
  const start = isWide ? Number(bytes.readBigUInt64LE(header + 24)) : bytes.readUInt32LE(header + 16);
  const length = isWide ? Number(bytes.readBigUInt64LE(header + 32)) : bytes.readUInt32LE(header + 20);
  if (start + length > bytes.length) return null;
  const names = new Set<string>();
  for (let section = 0; section < count; section++) {
    const from = start + bytes.readUInt32LE(table + section * size);
    const end = Math.min(from + longestName, start + length);
    const name = from < end ? bytes.toString('latin1', from, end) : '';
    if (name.includes('\0')) names.add(name.slice(0, name.indexOf('\0')));
  }
  return names;
}

/** ET_REL */
const relocatable = 1;
const longestName = 32;

function has(bytes: Buffer, at: number, text: string): boolean {
  return bytes.toString('latin1', at, at + text.length) === text;
}
