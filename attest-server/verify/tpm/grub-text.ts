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

/** Null where the text is not such a line. */
export function grubLine(text: string): GrubLine | null {
  for (const [prefix, kind] of prefixes)
    if (text.startsWith(prefix)) return { kind, line: text.slice(prefix.length), prefix: prefix.length };
  return null;
}

const linuxCommand = /^(?:linux|linuxefi|linux16)[ \t]+/;

/**
 * The kernel command line that a line carries: the image and its arguments; null for other lines.
 * GRUB measures it twice, as the command `linux …` and as what it hands over.
 */
export function kernelLine(grub: GrubLine): { readonly image: string; readonly arguments: string } | null {
  const linux = grub.kind === 'command' ? linuxCommand.exec(grub.line)?.[0] : '';
  if (linux === undefined || grub.kind === 'module') return null;
  const rest = grub.line.slice(linux.length);
  const space = rest.indexOf(' ');
  return space < 0
    ? { image: rest, arguments: '' }
    : { image: rest.slice(0, space), arguments: rest.slice(space + 1) };
}
