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
  else if (format === 'yaml') io.out(await yamlOf(value));
  else io.out(people());
}

async function yamlOf(value: unknown): Promise<string> {
  const { yamlText } = await import('./yaml-text.ts');
  return yamlText(printableValue(value));
}

/** Prints a list `{items, next}` while it is read; an error ends it in the middle. @returns how many there were */
export async function printParts<Item>(
  io: CliIo,
  format: Format,
  parts: AsyncIterable<readonly Item[]>,
  people: (items: readonly Item[]) => string,
): Promise<number> {
  const [begin, between, end] =
    format === 'json' ? (['{\n  "items": [\n', ',\n', '\n  ]\n}'] as const) : (['items:\n', '', ''] as const);
  let count = 0;
  for await (const items of parts) {
    if (format !== 'json' && format !== 'yaml') io.out(people(items));
    else if (items.length > 0) {
      const text = format === 'json' ? printableJson({ items }) : await yamlOf({ items });
      io.out((count === 0 ? begin : between) + text.slice(begin.length, text.length - end.length));
    }
    count += items.length;
  }
  if (count === 0) await print(io, format, { items: [], next: null }, () => '');
  else if (format === 'json') io.out('\n  ],\n  "next": null\n}\n');
  else if (format === 'yaml') io.out('next: null\n');
  return count;
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
