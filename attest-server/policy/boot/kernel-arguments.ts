/** A line of GRUB's that carries a kernel's command line: as the command `linux …`, or as what it hands over. */
const line = /^(?:(?:grub_cmd:? )linux(?:efi|16)?[ \t]+|(?:grub_)?kernel_cmdline:? )([^ ]*) ?(.*)$/s;

/** The arguments behind the kernel image's name; null if the event describes something else. */
export function kernelArguments(describes: string): string | null {
  return line.exec(describes)?.[2] ?? null;
}
