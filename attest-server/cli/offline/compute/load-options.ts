/** A command line as a kernel's EFI stub gets it and measures it into PCR 9: UTF-16 with its end. */
export function loadOptions(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'utf16le');
}

/** As systemd-stub hands on the text of a section: up to a NUL, control characters as blanks, none at its ends. */
export function stubCommandLine(section: Buffer): string {
  const end = section.indexOf(0);
  const text = section.subarray(0, end < 0 ? section.length : end).toString('utf8');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  return text.replace(/[\u0000-\u0020\u007f]/g, ' ').replace(/^ +| +$/g, '');
}
