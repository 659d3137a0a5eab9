import { hash } from 'node:crypto';
import { limits } from '../protocol/limits.ts';
import type { AskedImage, AskedList, EvidenceMessage } from '../protocol/messages.ts';
import { Rejection } from '../protocol/rejection.ts';

/** Pieces of something long that came for a challenge that asks for it. */
interface Arrived {
  /** Bytes of it before these, by the agent's word. */
  readonly from: number;
  /** There is more of it on the node. */
  readonly more: boolean;
  /** In order. */
  readonly pieces: readonly Buffer[];
}

/** Of IMA's list. */
export type ArrivedIma = Arrived;

/** Of an initrd. */
export interface ArrivedImage extends Arrived {
  /** As it was asked for. */
  readonly digest: string;
}

/** The same, while they come. */
class ArrivedPieces {
  readonly #name: 'ima' | 'initrd';
  readonly #most: number;
  readonly #pieces: { readonly digest: string; readonly bytes: Buffer }[] = [];
  #bytes = 0;

  /** @param most bytes that the answer may bring */
  constructor(name: 'ima' | 'initrd', most: number) {
    this.#name = name;
    this.#most = most;
  }

  /** @throws Rejection `malformed`, `too_large` */
  add(bytes: Buffer): void {
    if (bytes.length === 0) throw this.bad('pieces', 'an empty piece');
    this.#bytes += bytes.length;
    const { piece, pieces } = limits[this.#name];
    if (bytes.length > piece || this.#bytes > this.#most || this.#pieces.length >= pieces)
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
  protected taken(said: EvidenceMessage['ima']): Arrived | null {
    const pieces = this.#pieces;
    if (said === undefined) {
      if (pieces.length > 0) throw this.bad('pieces', 'some came, and the message names none');
      return null;
    }
    const { from, more } = said;
    if (said.pieces.length !== pieces.length || pieces.some(({ digest }, at) => digest !== said.pieces[at]))
      throw this.bad('pieces', 'not those that came');
    // Attack: there is always more, and none of it ever comes, so that it is asked for without end.
    if (more && pieces.length === 0) throw this.bad('more', 'there is more, and nothing of it came');
    return { from, more, pieces: pieces.map(({ bytes }) => bytes) };
  }

  protected bad(member: string, text: string): Rejection {
    const field = `${this.#name}.${member}`;
    return new Rejection('malformed', `message field ${field}: ${text}`, { field });
  }
}

export class ArrivedList extends ArrivedPieces {
  readonly #from: number;

  constructor({ from, most }: AskedList) {
    super('ima', most);
    this.#from = from;
  }

  /** @throws Rejection `malformed` */
  named({ ima: said }: EvidenceMessage): ArrivedIma | null {
    if (said !== undefined && said.from !== 0 && said.from !== this.#from)
      throw this.bad('from', 'neither its begin nor where to go on');
    return this.taken(said);
  }
}

export class ArrivedInitrd extends ArrivedPieces {
  readonly #asked: AskedImage;

  constructor(asked: AskedImage) {
    super('initrd', asked.most);
    this.#asked = asked;
  }

  /** @throws Rejection `malformed` */
  named({ initrd: said }: EvidenceMessage): ArrivedImage | null {
    const { digest, from } = this.#asked;
    if (said !== undefined && said.digest !== digest) throw this.bad('digest', 'another image');
    if (said !== undefined && said.from !== from) throw this.bad('from', 'not where to go on');
    const taken = this.taken(said);
    return taken && { ...taken, digest };
  }
}
