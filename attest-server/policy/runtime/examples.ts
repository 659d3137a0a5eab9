import type { ImaEntry } from '../../verify/ima/proven-list.ts';
import { outsideText } from '../../wire/printable.ts';

/** An entry of IMA's list that a finding shows. */
export interface Example {
  /** Its number in the list, from 0. */
  readonly entry: number;
  /** As the kernel names it, cut and printable. */
  readonly name: string;
  /** The same as it is, for looking it up; cut where it is longer than any that a list has. */
  readonly path: string;
  /** With its algorithm; "" where nothing was measured. */
  readonly digest: string;
  /** Name of the reference that has it, where one does. */
  readonly reference: string | null;
}

/** In bytes. Names may have 4096: what is kept of a node stays small, whatever it calls its files. */
const longestPath = 1024;
/** As many as a finding shows: what is kept of a node stays small, whatever it runs. */
export const mostExamples = 32;

/** The first entries of a kind, each name and content once. They depend on the entries alone, not on how these came. */
export class Examples {
  readonly #byKey = new Map<string, Example>();
  #more = false;

  /** As it is now, to be added to. */
  copy(): Examples {
    const copy = new Examples();
    for (const [key, example] of this.#byKey) copy.#byKey.set(key, example);
    copy.#more = this.#more;
    return copy;
  }

  get all(): readonly Example[] {
    return [...this.#byKey.values()];
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** There were others, too. */
  get more(): boolean {
    return this.#more;
  }

  /** @returns true if that changed what is kept */
  add(entry: ImaEntry, reference: string | null = null): boolean {
    if (this.#more) return false;
    const name = entry.nameBytes.toString('utf8', 0, longestPath);
    const digest = digestText(entry);
    const key = `${digest} ${name}`;
    if (this.#byKey.has(key)) return false;
    if (this.#byKey.size >= mostExamples) {
      this.#more = true;
      return true;
    }
    this.#byKey.set(key, { entry: entry.index, name: outsideText(name), path: name, digest, reference });
    return true;
  }
}

function digestText({ algorithm, digest, kind }: ImaEntry): string {
  if (digest.length === 0) return '';
  const hex = digest.toString('hex');
  return `${kind === 'verity' ? 'verity:' : ''}${algorithm === '' ? '' : `${algorithm}:`}${hex}`;
}
