import { hash } from 'node:crypto';
import { limits } from '../wire/limits.ts';
import type {
  AskedSupplement,
  Challenge,
  EvidenceMessage,
  SentSupplement,
  SpokenWord,
} from '../wire/messages.ts';
import { Rejection } from '../wire/rejection.ts';
import {
  type AnsweredSupplement,
  type AnsweredSupplements,
  type ArrivedSupplement,
  type SupplementName,
  supplementForms,
  supplementNames,
} from '../wire/supplements.ts';

/** Pieces of supplements that come for one challenge, as far as it asks for them. */
export class ArrivedSupplements {
  readonly #pieces = new Map<SupplementName, ArrivedPieces>();
  /** That of 0.3.0 asks for files alone, and an answer to it does not name them. */
  readonly #isEarlier: boolean;

  constructor({ supplements, files }: Pick<Challenge, 'supplements' | 'files'>) {
    this.#isEarlier = files !== undefined;
    const asked: NonNullable<Challenge['supplements']> = {
      ...supplements,
      ...(files && { loaderFiles: asEarlier(files) }),
    };
    for (const name of supplementNames) {
      const one = asked[name];
      if (one !== undefined) this.#pieces.set(name, new ArrivedPieces(name, one));
    }
  }

  /** @throws Rejection `malformed`, `too_large` */
  add(name: SupplementName, piece: Buffer): void {
    const pieces = this.#pieces.get(name);
    if (pieces === undefined)
      throw new Rejection('malformed', `a piece of ${name} out of order: nobody asked for it`, {
        field: 'type',
      });
    pieces.add(piece);
  }

  /** @param speaks what its agent does. @throws Rejection `malformed` if the evidence says something else of what came */
  answered(
    { supplements: said = {} }: EvidenceMessage,
    { parts }: Pick<Challenge, 'parts'>,
    speaks: readonly SpokenWord[],
  ): AnsweredSupplements {
    const answered: Partial<Record<SupplementName, AnsweredSupplement>> = {};
    for (const name of supplementNames) {
      const pieces = this.#pieces.get(name);
      if (pieces === undefined && said[name] !== undefined) {
        const field = `supplements.${name}`;
        throw new Rejection('malformed', `message field ${field}: it was not asked for`, { field });
      }
      const asked = pieces?.asked ?? null;
      const came = (this.#isEarlier ? pieces?.all : pieces?.named(said[name])) ?? null;
      if (pieces !== undefined || mayBeAsked(name, speaks)) answered[name] = { asked, came };
    }
    // An agent of 0.3.0 sends its list as a part.
    if (answered.ima === undefined && parts?.includes('ima') === true)
      answered.ima = { asked: asEarlier([]), came: null };
    return answered;
  }
}

function mayBeAsked(name: SupplementName, speaks: readonly SpokenWord[]): boolean {
  return speaks.includes('supplements') || (name === 'loaderFiles' && speaks.includes('files'));
}

function asEarlier(of: readonly string[]): AskedSupplement {
  return { of: [...of], from: 0, bootId: null, most: limits.filesInAnswer.bytes };
}

class ArrivedPieces {
  readonly asked: AskedSupplement;
  readonly #name: SupplementName;
  readonly #pieces: Buffer[] = [];
  readonly #digests: string[] = [];
  #bytes = 0;

  constructor(name: SupplementName, asked: AskedSupplement) {
    this.#name = name;
    this.asked = asked;
  }

  /** @throws Rejection `malformed`, `too_large` */
  add(bytes: Buffer): void {
    if (bytes.length === 0) throw this.#bad('pieces', 'an empty piece');
    this.#bytes += bytes.length;
    const { piece, pieces } = supplementForms[this.#name];
    if (bytes.length > piece || this.#bytes > this.asked.most || this.#pieces.length >= pieces)
      throw new Rejection(
        'too_large',
        `${this.#pieces.length + 1} pieces of ${this.#bytes} bytes together, the last of ${bytes.length}`,
      );
    this.#pieces.push(bytes);
    this.#digests.push(hash('sha256', bytes, 'hex'));
  }

  /** All that came, where the evidence does not name them; null if nothing did. */
  get all(): ArrivedSupplement | null {
    return this.#pieces.length === 0 ? null : { from: 0, more: false, pieces: this.#pieces };
  }

  /**
   * The supplement that the evidence names, whose pieces must be these, in this order; null if it names none and none
   * came.
   * @throws Rejection `malformed`
   */
  named(said: SentSupplement | undefined): ArrivedSupplement | null {
    const pieces = this.#pieces;
    if (said === undefined) {
      if (pieces.length > 0) throw this.#bad('pieces', 'some came, and the message names none');
      return null;
    }
    const { from, more } = said;
    if (from !== this.asked.from && !(from === 0 && supplementForms[this.#name].mayBeginAgain))
      throw this.#bad('from', 'not where to go on');
    if (said.pieces.length !== pieces.length || said.pieces.some((one, at) => one !== this.#digests[at]))
      throw this.#bad('pieces', 'not those that came');
    // Attack: there is always more, and none of it ever comes, so that it is asked for without end.
    if (more && pieces.length === 0) throw this.#bad('more', 'there is more, and nothing of it came');
    return { from, more, pieces };
  }

  #bad(member: string, text: string): Rejection {
    const field = `supplements.${this.#name}.${member}`;
    return new Rejection('malformed', `message field ${field}: ${text}`, { field });
  }
}
