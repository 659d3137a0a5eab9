import { stringify } from 'yaml';
import { CliError, exit } from './exit.ts';
import type { CliIo } from './io.ts';
import { printableJson, printableValue } from './printable.ts';

const formats = ['table', 'wide', 'json', 'yaml', 'name', 'junit', 'sarif'] as const;
export type Format = (typeof formats)[number];

/** @throws CliError (usage) for a format that the command does not have */
export function formatOf(word: string, allowed: readonly Format[]): Format {
  const found = allowed.find((format) => format === word);
  if (found === undefined)
    throw new CliError(
      `-o ${word} is not a format of this command`,
      `It has ${allowed.join(', ')}.`,
      exit.usage,
    );
  return found;
}

/** Prints a value for programs, or leaves it to `people`. */
export function print(io: CliIo, format: Format, value: unknown, people: () => string): void {
  if (format === 'json') io.out(`${printableJson(value)}\n`);
  else if (format === 'yaml') io.out(stringify(printableValue(value)));
  else io.out(people());
}
