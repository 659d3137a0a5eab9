import { CliError, exit } from './exit.ts';
import type { CliIo } from './io.ts';
import { printableJson, printableValue } from './printable.ts';

export type Format = 'table' | 'wide' | 'json' | 'yaml' | 'name' | 'junit' | 'sarif';

/** @throws CliError (usage) for a format that the command does not have */
export function formatOf<F extends Format>(given: string, allowed: readonly F[]): F {
  const found = allowed.find((format) => format === given);
  if (found === undefined)
    throw new CliError(
      `-o ${given} is not a format of this command`,
      `It has ${allowed.join(', ')}.`,
      exit.usage,
    );
  return found;
}

/** Prints a value for programs, or leaves it to `people`. */
export async function print(io: CliIo, format: Format, value: unknown, people: () => string): Promise<void> {
  if (format === 'json') io.out(`${printableJson(value)}\n`);
  else if (format === 'yaml') {
    const { yamlText } = await import('./yaml-text.ts');
    io.out(yamlText(printableValue(value)));
  } else io.out(people());
}

/** Prints nodes that were asked for by name: one name gives the object itself, and nothing if it is missing; else a list. */
export async function printNodes(
  io: CliIo,
  format: Format,
  names: readonly string[],
  found: readonly unknown[],
  people: () => string,
): Promise<void> {
  const isOne = names.length === 1;
  if (isOne && found.length === 0) return;
  await print(io, format, isOne ? found[0] : { items: found, next: null }, people);
}
