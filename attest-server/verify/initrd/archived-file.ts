import { createHash, type Hash, hash } from 'node:crypto';
import type { CreatedFile } from './root-tree.ts';

/** The bytes of one file, as they come. */
export class ArchivedFile {
  readonly made: CreatedFile;
  readonly bytes: number;
  readonly #kept: Buffer[] | null;
  readonly #expected: number | null;
  #sum = 0;
  #hash: Hash | null = null;
  #whole: Buffer | null = null;

  constructor(made: CreatedFile, bytes: number, isKept: boolean, expected: number | null) {
    this.made = made;
    this.bytes = bytes;
    this.#kept = isKept ? [] : null;
    this.#expected = expected;
  }

  add(part: Buffer): void {
    if (this.#expected !== null) for (const byte of part) this.#sum = (this.#sum + byte) >>> 0;
    this.#kept?.push(Buffer.from(part));
    // Most files come whole, which is hashed at half the price.
    if (part.length === this.bytes) this.#whole = part;
    else this.#hash = (this.#hash ?? createHash('sha256')).update(part);
  }

  digest(): string {
    if (this.#whole !== null) return hash('sha256', this.#whole);
    return this.#hash === null ? emptyDigest : this.#hash.digest('hex');
  }

  content(): Buffer | null {
    return this.#kept === null ? null : Buffer.concat(this.#kept);
  }

  /** The kernel looks at it only for files that it writes, and so do we. */
  hasItsSum(): boolean {
    return this.#expected === null || this.made.node === null || this.#sum === this.#expected;
  }
}

const emptyDigest = hash('sha256', '');
