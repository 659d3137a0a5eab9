import { hash } from 'node:crypto';
import type { Part, PartName, Parts } from '../wire/evidence.ts';
import { limits } from '../wire/limits.ts';
import type { EvidenceMessage } from '../wire/messages.ts';
import { giveBackLong } from '../wire/own-bytes.ts';
import { Rejection } from '../wire/rejection.ts';
import { bounds } from './bounds.ts';

/** The parts that came for an open challenge, by their digest: which part each of them is, the evidence says. */
export class ArrivedParts {
  readonly #byDigest = new Map<string, Buffer>();
  #bytes = 0;

  /** @throws Rejection `too_large` */
  add(bytes: Buffer): void {
    const digest = hash('sha256', bytes, 'hex');
    if (this.#byDigest.has(digest)) {
      giveBackLong(bytes);
      return;
    }
    this.#bytes += bytes.length;
    if (this.#byDigest.size >= bounds.parts.count || this.#bytes > bounds.parts.bytes) {
      const text = `${this.#byDigest.size + 1} parts of ${this.#bytes} bytes together`;
      giveBackLong(bytes);
      throw new Rejection('too_large', text);
    }
    this.#byDigest.set(digest, bytes);
  }

  /**
   * The parts that the evidence names, with the bytes that came for them. Everything else that came is dropped.
   * @throws Rejection `malformed` for a part that was not asked for, `too_large`
   */
  takeNamed({ parts }: EvidenceMessage, asked: readonly string[]): Parts {
    const named: Partial<Record<PartName, Part>> = {};
    for (const [name, { digest }] of entriesOf(parts)) {
      const field = `parts.${name}`;
      if (!asked.includes(name))
        throw new Rejection('malformed', `message field ${field}: it was not asked for`, { field });
      const bytes = this.#byDigest.get(digest) ?? null;
      if (bytes !== null && bytes.length > limits.parts[name])
        throw new Rejection('too_large', `message field ${field}: ${bytes.length} bytes`, { field });
      named[name] = { digest, bytes };
    }
    for (const { digest } of Object.values(named)) this.#byDigest.delete(digest);
    this.clear();
    return named;
  }

  /** Drops whatever nobody took. */
  clear(): void {
    for (const bytes of this.#byDigest.values()) giveBackLong(bytes);
    this.#byDigest.clear();
    this.#bytes = 0;
  }
}

// The names are those of the schema, which is what Object.entries cannot say.
function entriesOf(parts: EvidenceMessage['parts']) {
  return Object.entries(parts) as [PartName, NonNullable<EvidenceMessage['parts'][PartName]>][];
}
