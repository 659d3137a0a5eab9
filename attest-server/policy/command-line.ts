import { globMatches } from './glob.ts';

/** A kernel's command line. */
export interface ParsedCommandLine {
  /** The kernel image that a loader named before the arguments; null if the text has arguments alone. */
  readonly image: string | null;
  readonly arguments: readonly string[];
}

/** As GRUB hands it over, or as it measures the command that does; its prefixes are in some logs' text. */
const named =
  /^(?:grub_cmd:? )?(?:linux(?:efi|16)?[ \t]+)(\S*)|^(?:grub_)?kernel_cmdline:? (\S*)|^(?:BOOT_IMAGE=)?((?:\(|\/|\\)\S*)/;

export function parseCommandLine(text: string): ParsedCommandLine {
  const match = named.exec(text);
  const image = match?.[1] ?? match?.[2] ?? match?.[3] ?? null;
  // Attack: a name in which the kernel sees the beginning of an argument, or of quotes around all others.
  if (match === null || image === null || !isPlainName(image))
    return { image: null, arguments: splitArguments(text) };
  return { image, arguments: splitArguments(text.slice(match[0].length)) };
}

/** True for the name of an image that the kernel reads as one word. */
function isPlainName(image: string): boolean {
  return /^[!#-~]*$/.test(image);
}

/**
 * At blanks outside double quotes, as the kernel does, which reads bytes: 0xA0 is a blank, also in the middle of a
 * character of UTF-8. Words of their own are a line feed, at which its EFI stub ends the line, and what is no UTF-8.
 */
function splitArguments(text: string): string[] {
  if (/^[ -~]*$/.test(text)) return text.match(/(?:"[^"]*"?|[^ "])+/g) ?? [];
  const words =
    Buffer.from(text)
      .toString('latin1')
      .match(/\n|\xef\xbf\xbd|(?:"[^"]*"?|(?!\xef\xbf\xbd)[^\t-\r "\xa0])+/g) ?? [];
  return words.map((word) => Buffer.from(word, 'latin1').toString('utf8'));
}

/** The bytes that a kernel of x86 or ARM reads (COMMAND_LINE_SIZE, and a NUL), less what GRUB puts before the image's name. */
const readBytes = 2047 - 'BOOT_IMAGE='.length;

/**
 * True for a line that the kernel may not read to its end. Attack: a long path to the image, which nobody compares, so
 * that the arguments behind it are cut off.
 */
export function isCutOff(text: string): boolean {
  return Buffer.byteLength(text) > readBytes;
}

/** The arguments for the kernel: those after `--` are for what it starts. */
export function forKernel(words: readonly string[]): readonly string[] {
  const end = words.findIndex((word) => word.replaceAll('"', '') === '--');
  return end < 0 ? words : words.slice(0, end);
}

/** True if a line has one of these words, and the kernel reads it. */
export function hasWord(text: string, words: readonly string[]): boolean {
  return !isCutOff(text) && hasOneOf(parseCommandLine(text).arguments, words);
}

export function hasOneOf(line: readonly string[], words: readonly string[]): boolean {
  return forKernel(line).some((word) => words.includes(asKernelReads(word)));
}

/** As the kernel compares: it takes quotes away, and reads a dash in a name as an underscore. */
export function asKernelReads(word: string): string {
  const plain = word.replaceAll('"', '');
  const end = plain.indexOf('=');
  return plain.slice(0, end < 0 ? undefined : end).replaceAll('-', '_') + (end < 0 ? '' : plain.slice(end));
}

export interface ArgumentDifference {
  readonly more: readonly string[];
  readonly less: readonly string[];
}

/**
 * Which arguments `actual` has more and less than `expected`, except those that `allow` permits to be there or not.
 * The image does not count: it is judged by its digest, not by its name.
 */
export function argumentDifference(
  expected: ParsedCommandLine,
  actual: ParsedCommandLine,
  allow: readonly string[],
): ArgumentDifference {
  const free = (word: string) => isAllowed(word, allow);
  return {
    more: without(actual.arguments, expected.arguments).filter((word) => !free(word)),
    less: without(expected.arguments, actual.arguments).filter((word) => !free(word)),
  };
}

/**
 * No glob is meant for what does not print, nor for a blank that it does not have. Attack: an initrd's scripts split a
 * line at all of its blanks, and find `init=` within the quotes of what is allowed.
 */
export function isAllowed(word: string, allow: readonly string[]): boolean {
  if (!/^[ -~]*$/.test(word)) return false;
  return allow.some((glob) => (glob.includes(' ') || !word.includes(' ')) && globMatches(glob, word));
}

function without(words: readonly string[], others: readonly string[]): string[] {
  return words.filter((word) => !others.includes(word));
}

/** Where arguments are the same and their order is not: the last of `console=` or `init=` wins. */
export function sameOrder(
  expected: ParsedCommandLine,
  actual: ParsedCommandLine,
  allow: readonly string[],
): boolean {
  const bound = (words: readonly string[]) => words.filter((word) => !isAllowed(word, allow)).join(' ');
  return bound(expected.arguments) === bound(actual.arguments);
}
