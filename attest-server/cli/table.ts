import { printable } from '../protocol/printable.ts';

/** Aligns rows below a heading by two spaces, which no cell has; every cell is made printable. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [heading, ...rows.map((row) => row.map(cellText))];
  const widths = heading.map((_, column) =>
    Math.max(...lines.map((line) => [...(line[column] ?? '')].length)),
  );
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - [...cell].length))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/** Attack: a text of others that has columns of its own. */
function cellText(text: string): string {
  return printable(text).replace(/\p{Zs}{2,}/gu, ' ');
}

/** Lines of a label and what it says, below each other. */
export function fields(lines: readonly (readonly [label: string, text: string])[]): string {
  const width = Math.max(...lines.map(([label]) => label.length)) + 2;
  return lines
    .map(([label, text]) => `${(label === '' ? '' : `${label}:`).padEnd(width)}${printable(text)}\n`)
    .join('');
}
