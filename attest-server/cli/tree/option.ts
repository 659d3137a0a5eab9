import { Argument, type Command, Option } from 'commander';
import { type Format, formatOf } from '../output.ts';

export interface Formatted {
  readonly output: Format;
}
export interface ToFile {
  readonly file?: string;
}
export interface Reasoned {
  readonly reason: string;
}

const formatsOf = new WeakMap<Option, readonly Format[]>();

/** The formats that a command prints; the first one is its default. */
export function outputOption(...formats: readonly [Format, ...Format[]]): Option {
  const listed = `${formats.slice(0, -1).join(', ')} or ${formats.at(-1)}`;
  const option = new Option('-o, --output <format>', listed)
    .default(formats[0])
    .argParser((given) => formatOf(given, formats));
  formatsOf.set(option, formats);
  return option;
}

/** The formats that an option of `outputOption` takes; nothing for another one. */
export function formatsOfOption(option: Option): readonly Format[] {
  return formatsOf.get(option) ?? [];
}

/** Moments as they are, instead of how long ago they were. */
export function utcOption(): Option {
  return new Option('--utc', 'times as RFC 3339 instead of ages');
}

/** For a command that changes nodes or cuts somebody off: it says whom, and asks. */
export function consentOptions(command: Command): Command {
  return command
    .option('--yes', 'do not ask for confirmation')
    .option('--dry-run', 'show which nodes it would change, and change nothing');
}

/** An option that may be given several times. */
export function several(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
}

/** The name of a node: `node-2`, or `node/node-2` as kubectl prints it. */
export function nodeArgument(description = ''): Argument {
  return new Argument('<node>', description).argParser(plainNode);
}

/** `<node...>`: one or more of them; `[node...]`: any number, none too. */
export function nodesArgument(usage: '<node...>' | '[node...]', description = ''): Argument {
  return new Argument(usage, description).argParser(
    (given: string, earlier: readonly string[] | undefined) => [...(earlier ?? []), plainNode(given)],
  );
}

function plainNode(given: string): string {
  return given.replace(/^nodes?\//, '');
}
