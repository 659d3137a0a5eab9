import { printable } from '../wire/printable.ts';

/** Aligns rows below a heading by two spaces, which only a last cell may have; every cell is made printable. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  return growingTable(heading)(rows);
}

/** A table that is printed in parts: the first has the heading, and no column becomes narrower again. */
export function growingTable(heading: readonly string[]): (rows: readonly (readonly string[])[]) => string {
  let widths = heading.map(() => 0);
  let isFirst = true;
  return (rows) => {
    const cells = rows.map((row) => row.map((cell, at) => cellText(cell, at === row.length - 1)));
    const lines = isFirst ? [heading, ...cells] : cells;
    isFirst = false;
    const lengths = lines.map((line) => line.map((cell) => [...cell].length));
    widths = widths.map((width, column) => Math.max(width, ...lengths.map((line) => line[column] ?? 0)));
    return lines
      .map((line, row) =>
        line
          .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - (lengths[row]?.[column] ?? 0)))
          .join('  ')
          .trimEnd(),
      )
      .map((line) => `${line}\n`)
      .join('');
  };
}

/** Attack: a text of others that has columns of its own. Behind the last column there are none. */
function cellText(text: string, isLast: boolean): string {
  const shown = printable(text);
  return isLast ? shown : shown.replace(/\p{Zs}{2,}/gu, ' ');
}

/** A line that stands behind its label. */
export type LabelledLine = readonly [label: string, text: string];

/** Labelled lines below each other, their texts aligned. */
export function fields(lines: readonly LabelledLine[]): string {
  const width = Math.max(...lines.map(([label]) => label.length)) + 2;
  return lines
    .map(([label, text]) => `${(label === '' ? '' : `${label}:`).padEnd(width)}${printable(text)}\n`)
    .join('');
}
