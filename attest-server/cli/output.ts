import { CliError, exit } from './exit.ts';
import type { CliIo } from './io.ts';
import { printableJson, printableValue } from './printable.ts';
import { type OutputTemplate, parseCustomColumns, parseJsonPath } from './template.ts';

/** A format that says itself what to print comes with it: `jsonpath={.items[*].name}`. */
export type Format =
  | 'table'
  | 'wide'
  | 'json'
  | 'yaml'
  | 'name'
  | 'junit'
  | 'sarif'
  | `jsonpath=${string}`
  | `custom-columns=${string}`;

/** @throws CliError (usage) for a format that the command does not have, and for one that cannot be understood */
export function formatOf(given: string, allowed: readonly Format[]): Format {
  const isAllowed = (text: string): text is Format =>
    allowed.some((format) => text === format || (format.endsWith('=') && text.startsWith(format)));
  if (!isAllowed(given))
    throw new CliError(
      `-o ${given} is not a format of this command`,
      `It has ${allowed.join(', ')}.`,
      exit.usage,
    );
  templateOf(given);
  return given;
}

/** Null for a format that has a form of its own. @throws CliError (usage) for one that cannot be understood */
export function templateOf(format: Format): OutputTemplate | null {
  const text = format.slice(format.indexOf('=') + 1);
  if (format.startsWith('jsonpath=')) return parseJsonPath(text);
  return format.startsWith('custom-columns=') ? parseCustomColumns(text) : null;
}

/** Prints a value for programs, or leaves it to `people`. */
export async function print(
  io: CliIo,
  format: Format,
  value: unknown,
  people: () => string,
  headers = true,
): Promise<void> {
  const template = templateOf(format);
  if (template !== null) io.out(template(value, headers));
  else if (format === 'json') io.out(`${printableJson(value)}\n`);
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
  headers = true,
): Promise<void> {
  const isOne = names.length === 1;
  if (isOne && found.length === 0) return;
  await print(io, format, isOne ? found[0] : { items: found, next: null }, people, headers);
}
