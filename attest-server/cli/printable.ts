/** C0 and C1 controls, DEL, and what changes the direction of text or breaks lines: a terminal would obey them. */
const unsafe =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: naming them is the point
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Text of others on one line of a terminal: what a terminal would obey is shown as `\u001b`. */
export function printable(text: string): string {
  return text.replace(unsafe, escapeUnit);
}

/** JSON that a terminal shows as it is; its meaning does not change, since JSON knows the same escapes. */
export function printableJson(value: unknown, indent = 2): string {
  return JSON.stringify(value, null, indent).replace(unsafe, (unit) =>
    unit === '\n' ? unit : escapeUnit(unit),
  );
}

/** The same value with every string and key made printable. */
export function printableValue(value: unknown): unknown {
  if (typeof value === 'string') return printable(value);
  if (Array.isArray(value)) return value.map(printableValue);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [printable(key), printableValue(member)]),
  );
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
