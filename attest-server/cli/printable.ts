import { printable } from '../wire/printable.ts';

/** JSON that a terminal shows as it is; its meaning does not change, since JSON knows the same escapes. */
export function printableJson(value: unknown, indent = 2): string {
  return JSON.stringify(value, null, indent).split('\n').map(printable).join('\n');
}

/** The same value with all keys and strings made printable, except line ends in strings. */
export function printableValue(value: unknown): unknown {
  if (typeof value === 'string') return value.split('\n').map(printable).join('\n');
  if (Array.isArray(value)) return value.map(printableValue);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [printable(key), printableValue(member)]),
  );
}
