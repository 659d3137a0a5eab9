import { globMatches } from '../glob.ts';

/** A kernel's command line. */
export interface CommandLine {
  /** The kernel image that a loader named before the arguments; null where the text has arguments alone. */
  readonly image: string | null;
  readonly arguments: readonly string[];
}

/** As GRUB hands it over, or as it measures the command that does; its prefixes are in some logs' text. */
const named =
  /^(?:grub_cmd:? )?(?:linux(?:efi|16)?[ \t]+)(\S*)|^(?:grub_)?kernel_cmdline:? (\S*)|^(?:BOOT_IMAGE=)?((?:\(|\/|\\)\S*)/;

export function parseCommandLine(text: string): CommandLine {
  const match = named.exec(text);
  const image = match?.[1] ?? match?.[2] ?? match?.[3] ?? null;
  const rest = match === null ? text : text.slice(match[0].length);
  return { image, arguments: splitArguments(rest) };
}

/** At blanks outside double quotes, as the kernel does. */
function splitArguments(text: string): string[] {
  return text.match(/(?:"[^"]*"?|[^\s"])+/g) ?? [];
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
  expected: CommandLine,
  actual: CommandLine,
  allow: readonly string[],
): ArgumentDifference {
  const free = (word: string) => allow.some((glob) => globMatches(glob, word));
  return {
    more: without(actual.arguments, expected.arguments).filter((word) => !free(word)),
    less: without(expected.arguments, actual.arguments).filter((word) => !free(word)),
  };
}

function without(words: readonly string[], others: readonly string[]): string[] {
  return words.filter((word) => !others.includes(word));
}

/** Where arguments are the same and their order is not: the last of `console=` or `init=` wins. */
export function sameOrder(expected: CommandLine, actual: CommandLine, allow: readonly string[]): boolean {
  const bound = (words: readonly string[]) =>
    words.filter((word) => !allow.some((glob) => globMatches(glob, word))).join(' ');
  return bound(expected.arguments) === bound(actual.arguments);
}
