import { bounds } from './bounds.ts';
import { Tally } from './tally.ts';

/**
 * Counts the bytes that connections sent before they proved anything. One listener takes frames of one size, so this
 * is what keeps a stranger from making the server hold a boot log, and a thousand of them from filling its memory.
 */
export class Unjudged {
  readonly #bySource = new Tally();

  /** @returns what is wrong; null where there is room */
  add(source: string, bytes: number): string | null {
    this.#bySource.add(source, bytes);
    const held = this.#bySource.of(source);
    if (held > bounds.unjudged.perSource) return `${held} unproven bytes from one source`;
    const isFull = this.#bySource.total > bounds.unjudged.total && held > bounds.unjudged.spared;
    return isFull ? 'too many unproven bytes' : null;
  }

  remove(source: string, bytes: number): void {
    this.#bySource.add(source, -bytes);
  }
}
