import { printable } from '../wire/printable.ts';

/** `a, b and c`, each made printable; of many the rest is a number. @param total more than are named, where so */
export function listed(names: readonly string[], most = 10, total = names.length): string {
  const shown = names.slice(0, most).map(printable);
  const more = total - shown.length;
  if (more > 0) return `${shown.join(', ')} and ${more} more`;
  return shown.length < 2 ? shown.join('') : `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)}`;
}

/** `1 node`, `3 nodes`. */
export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}
