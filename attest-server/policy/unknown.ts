import { hash } from 'node:crypto';
import { outsideText } from '../wire/printable.ts';

/** A thing that a node shows and no reference in force has. */
export interface UnknownThing {
  /** Its kind, in words: `kernel`, `file`. */
  readonly what: string;
  /** As the node calls it. */
  readonly name: string;
  /** `sha256:…`; null if several nodes show several. */
  readonly digest: string | null;
  /** How many others of its kind there are. */
  readonly more: number;
}

/** All of one aspect that a node shows and no reference in force has. */
export interface UnknownThings {
  /** Nodes with the same show the same, identifiers of machines aside; `setOf` makes it. */
  readonly set: string;
  /** For people, the cause first. */
  readonly things: readonly UnknownThing[];
  /** Each node needs a reference of its own: that of a sibling does not count. */
  readonly own: boolean;
  /** Why a reference that is captured of the node would not know it; null if it would. */
  readonly lacks: string | null;
  /** Name of a staged or retired reference that knows all of it, once it is in force; null if none does. */
  readonly knownBy: string | null;
  /** To be captured alone, by path; absent if a capture takes all. */
  readonly only?: readonly string[];
  /** It is in initrds, which references of kind `runtime` list. */
  readonly inInitrd?: true;
}

/** 64 bits of the SHA-256 over these, in any order. */
export function setOf(lines: Iterable<string>): string {
  // Attack: a command of GRUB's, or a path, with an end of line in it, that looks like two.
  return hash('sha256', JSON.stringify([...new Set(lines)].sort()), 'hex').slice(0, 16);
}

const mostThings = 16;
const longestName = 160;

/** As they are kept: of many the first ones, printable and cut. */
export function shownThings(things: readonly UnknownThing[]): readonly UnknownThing[] {
  return things
    .slice(0, mostThings)
    .map((thing) => ({ ...thing, name: outsideText(thing.name.slice(0, longestName)) }));
}
