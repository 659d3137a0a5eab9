/** One line that GRUB measured: what kind of line, and where the measured string begins in the event's data. */
export interface GrubLine {
  readonly kind: 'command' | 'kernel' | 'module';
  readonly line: string;
  /** Bytes of the prefix, which is in the log but not in the digest. */
  readonly prefix: number;
}

/** The prefixes that GRUB 2.04 and later write, then those of Red Hat's 2.02. */
const prefixes = [
  ['grub_cmd: ', 'command'],
  ['kernel_cmdline: ', 'kernel'],
  ['module_cmdline: ', 'module'],
  ['grub_cmd ', 'command'],
  ['grub_kernel_cmdline ', 'kernel'],
] as const;

const firstBytes: ReadonlySet<number> = new Set(prefixes.map(([prefix]) => prefix.charCodeAt(0)));

/** Null if the text is not such a line. */
export function grubLine(text: string): GrubLine | null {
  for (const [prefix, kind] of prefixes)
    if (text.startsWith(prefix)) return { kind, line: text.slice(prefix.length), prefix: prefix.length };
  return null;
}

/** Bytes of the prefix with which such a line begins; 0 where `bytes` from `from` to `end` is none. */
export function grubPrefix(bytes: Buffer, from: number, end: number): number {
  const first = from < end ? bytes[from]! : 0;
  // Most texts are no line of GRUB's: a look at one byte spares five comparisons.
  if (!firstBytes.has(first)) return 0;
  for (const [prefix] of prefixes) if (startsWith(bytes, from, end, prefix)) return prefix.length;
  return 0;
}

function startsWith(bytes: Buffer, from: number, end: number, ascii: string): boolean {
  if (end - from < ascii.length) return false;
  for (let i = 0; i < ascii.length; i++) if (bytes[from + i] !== ascii.charCodeAt(i)) return false;
  return true;
}

const linuxCommand = /^(?:linux|linuxefi|linux16)[ \t]+/;

/** A word as the kernel reads it. */
const plainName = /^[!#-~]*(?= |$)/;

/**
 * The kernel command line that a line carries: the image and its arguments; null for other lines.
 * GRUB measures it twice, as the command `linux …` and as what it hands over.
 */
export function kernelLine(grub: GrubLine): { readonly image: string; readonly arguments: string } | null {
  const linux = grub.kind === 'command' ? linuxCommand.exec(grub.line)?.[0] : '';
  if (linux === undefined || grub.kind === 'module') return null;
  const rest = grub.line.slice(linux.length);
  const image = plainName.exec(rest)?.[0];
  // Attack: a name in which the kernel sees the beginning of an argument.
  if (image === undefined) return { image: '', arguments: rest };
  return { image, arguments: rest.slice(image.length + 1) };
}
