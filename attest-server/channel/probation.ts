import type { Duplex } from 'node:stream';
import type { Role } from '../protocol/messages.ts';
import { bounds } from './bounds.ts';
import { Tally } from './tally.ts';
import { Unjudged } from './unjudged.ts';

/** What the unproven connections of one listener hold together. */
export class Probationers {
  /** Connections by the node and role that they claim, and their source. */
  readonly claims = new Tally();
  readonly unjudged = new Unjudged();
}

/**
 * The time in which a connection has proven nothing: it holds a place, claims a name, and may send little. All of it
 * is counted by source, so that strangers from elsewhere never stand in the way of the true node.
 */
export class Probation {
  readonly #socket: Duplex;
  readonly #source: string;
  readonly #all: Probationers;
  readonly #leavePlace: () => void;
  readonly #onData: (chunk: Buffer) => void;
  #claim: string | null = null;
  #sent = 0;
  #over = false;

  /**
   * @param isOpen whether the connection's keys are known, so that a boot log may come
   * @param tooMuch told why what came is too much
   */
  constructor(socket: Duplex, source: string, all: Probationers, { leavePlace, isOpen, tooMuch }: Events) {
    this.#socket = socket;
    this.#source = source;
    this.#all = all;
    this.#leavePlace = leavePlace;
    this.#onData = ({ length }) => {
      this.#sent += length;
      const crowded = all.unjudged.add(source, length);
      const most = isOpen() ? bounds.sent.beforeProof : bounds.sent.beforeOpen;
      const problem = this.#sent > most ? `${this.#sent} bytes, and nothing is proven` : crowded;
      if (problem !== null) tooMuch(problem);
    };
    // Before the WebSocket's own listener: what is too much is refused before it is put together.
    socket.prependListener('data', this.#onData);
  }

  /** @returns false where too many from this source claim this node in this role */
  claim(node: string, role: Role): boolean {
    this.#claim = `${node} ${role} ${this.#source}`;
    this.#all.claims.add(this.#claim, 1);
    return this.#all.claims.of(this.#claim) <= bounds.unprovenPerNodeAndSource;
  }

  /** Gives everything back: the connection proved itself, or is gone. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#socket.off('data', this.#onData);
    this.#leavePlace();
    this.#all.unjudged.remove(this.#source, this.#sent);
    if (this.#claim !== null) this.#all.claims.add(this.#claim, -1);
  }
}

interface Events {
  readonly leavePlace: () => void;
  readonly isOpen: () => boolean;
  readonly tooMuch: (text: string) => void;
}
