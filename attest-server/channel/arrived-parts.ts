import { hash } from 'node:crypto';
import type { Part, PartName, Parts } from '../protocol/evidence.ts';
import { limits } from '../protocol/limits.ts';
import type { AskedList, EvidenceMessage } from '../protocol/messages.ts';
import { Rejection } from '../protocol/rejection.ts';
import { bounds } from './bounds.ts';

/** The parts that came for an open challenge, by their digest: which part each of them is, the evidence says. */
export class ArrivedParts {
  readonly #byDigest = new Map<string, Buffer>();
  #bytes = 0;

  /** @throws Rejection `too_large` */
  add(bytes: Buffer): void {
    const digest = hash('sha256', bytes, 'hex');
    if (this.#byDigest.has(digest)) return;
    this.#bytes += bytes.length;
    if (this.#byDigest.size >= bounds.parts.count || this.#bytes > bounds.parts.bytes)
      throw new Rejection('too_large', `${this.#byDigest.size + 1} parts of ${this.#bytes} bytes together`);
    this.#byDigest.set(digest, bytes);
  }

  /**
   * What the evidence names, with the bytes that came, and nothing else of them; nothing is left here afterwards.
   * @throws Rejection `malformed` for a part that was not asked for, `too_large`
   */
  takeNamed({ parts }: EvidenceMessage, asked: readonly string[]): Parts {
    const named: Partial<Record<PartName, Part>> = {};
    for (const [name, { digest, bytes: inline }] of entriesOf(parts)) {
      const field = `parts.${name}`;
      if (!asked.includes(name))
        throw new Rejection('malformed', `message field ${field}: it was not asked for`, { field });
      const bytes =
        inline === undefined ? (this.#byDigest.get(digest) ?? null) : Buffer.from(inline, 'base64');
      if (bytes !== null && bytes.length > limits.parts[name])
        throw new Rejection('too_large', `message field ${field}: ${bytes.length} bytes`, { field });
      named[name] = { digest, bytes };
    }
    this.clear();
    return named;
  }

  clear(): void {
    this.#byDigest.clear();
    this.#bytes = 0;
  }
}

/** The pieces of IMA's list that came for a challenge that asks for it. */
export interface ArrivedIma {
  /** Bytes of the list before these, by the agent's word. */
  readonly from: number;
  /** There is more of it on the node. */
  readonly more: boolean;
  /** In order. */
  readonly pieces: readonly Buffer[];
}

/** The same, while they come. */
export class ArrivedPieces {
  readonly #asked: AskedList;
  readonly #pieces: { readonly digest: string; readonly bytes: Buffer }[] = [];
  #bytes = 0;

  constructor(asked: AskedList) {
    this.#asked = asked;
  }

  /** @throws Rejection `malformed`, `too_large` */
  add(bytes: Buffer): void {
    if (bytes.length === 0) throw badIma('pieces', 'an empty piece');
    this.#bytes += bytes.length;
    if (
      bytes.length > limits.ima.piece ||
      this.#bytes > this.#asked.most ||
      this.#pieces.length >= limits.ima.pieces
    )
      throw new Rejection(
        'too_large',
        `${this.#pieces.length + 1} pieces of ${this.#bytes} bytes together, the last of ${bytes.length}`,
      );
    this.#pieces.push({ digest: hash('sha256', bytes, 'hex'), bytes });
  }

  /**
   * What the evidence says of them, which must be these and in this order; null where it says nothing and none came.
   * @throws Rejection `malformed`
   */
  taken({ ima: said }: EvidenceMessage): ArrivedIma | null {
    const pieces = this.#pieces;
    if (said === undefined) {
      if (pieces.length > 0) throw badIma('pieces', 'some came, and the message names none');
      return null;
    }
    const { from, more } = said;
    if (from !== 0 && from !== this.#asked.from) throw badIma('from', 'neither its begin nor where to go on');
    if (said.pieces.length !== pieces.length || pieces.some(({ digest }, at) => digest !== said.pieces[at]))
      throw badIma('pieces', 'not those that came');
    // Attack: there is always more, and none of it ever comes, so that it is asked for without end.
    if (more && pieces.length === 0) throw badIma('more', 'there is more, and nothing of it came');
    return { from, more, pieces: pieces.map(({ bytes }) => bytes) };
  }
}

/** The files that came for a challenge that asks for some. */
export class ArrivedFiles {
  readonly #files: Buffer[] = [];
  #bytes = 0;

  get all(): readonly Buffer[] {
    return this.#files;
  }

  /** @throws Rejection `too_large` */
  add(bytes: Buffer): void {
    const { count, blocks, bytes: most } = limits.filesInAnswer;
    this.#bytes += bytes.length;
    if (this.#files.length >= count + blocks || this.#bytes > most || bytes.length > limits.loaderFiles.each)
      throw new Rejection('too_large', `${this.#files.length + 1} files of ${this.#bytes} bytes together`);
    this.#files.push(bytes);
  }
}

function badIma(member: string, text: string): Rejection {
  const field = `ima.${member}`;
  return new Rejection('malformed', `message field ${field}: ${text}`, { field });
}

// The names are those of the schema, which is what Object.entries cannot say.
function entriesOf(parts: EvidenceMessage['parts']) {
  return Object.entries(parts) as [PartName, NonNullable<EvidenceMessage['parts'][PartName]>][];
}
