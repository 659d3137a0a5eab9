import type { ReferenceKind } from '../formats/reference.ts';

/** The longest name of a reference; `plainName` says the same. */
const longest = 63;
/** A capture of several nodes puts `-64` behind it at most, and so does the search for a free one. */
const room = 8;

/** Names for references that nobody has, nor any of those that a capture of several nodes would make. */
export class FreeNames {
  readonly #taken: ReadonlySet<string>;
  readonly #blocked = new Set<string>();

  /** @param taken names of references that there are */
  constructor(taken: Iterable<string>) {
    this.#taken = new Set(taken);
    for (const name of this.#taken) this.#block(name);
  }

  /** @returns true if there is none of this name: nobody else gets it from now on */
  take(name: string): boolean {
    if (this.#taken.has(name) || this.#blocked.has(name)) return false;
    this.#block(name);
    return true;
  }

  /** @param at milliseconds since the epoch: names of one day tell what belongs together */
  makeFor(group: string, kind: ReferenceKind, at: number): string {
    const end = `${kind === 'boot' ? '' : `-${kind}`}-${new Date(at).toISOString().slice(0, 10)}`;
    const plain = group.replaceAll(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '');
    const base = (plain === '' ? 'group' : plain).slice(0, longest - room - end.length) + end;
    for (let number = 0; ; number++) {
      const name = `${base}${letters(number)}`;
      if (this.take(name)) return name;
    }
  }

  #block(name: string): void {
    this.#blocked.add(name);
    this.#blocked.add(name.replace(/-\d{1,2}$/, ''));
  }
}

/** No digits: a capture counts with these. Nothing, a, b, … z, aa, ab, … */
function letters(number: number): string {
  if (number === 0) return '';
  return letters(Math.floor((number - 1) / 26)) + String.fromCharCode(97 + ((number - 1) % 26));
}
