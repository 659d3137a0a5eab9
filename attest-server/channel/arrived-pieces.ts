import { hash } from 'node:crypto';
import { limits } from '../protocol/limits.ts';
import type { AskedList, EvidenceMessage } from '../protocol/messages.ts';
import { Rejection } from '../protocol/rejection.ts';

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

function badIma(member: string, text: string): Rejection {
  const field = `ima.${member}`;
  return new Rejection('malformed', `message field ${field}: ${text}`, { field });
}
