import type { Duplex } from 'node:stream';
import type { Visitor } from '../door/admission.ts';
import { bounds } from './bounds.ts';

/** The time in which a connection has proven nothing: it holds an admission slot, and may send little. */
export class Probation {
  readonly #socket: Duplex;
  readonly #visitor: Visitor;
  readonly #onData: (chunk: Buffer) => void;
  #sent = 0;
  /** Bytes that it may still send between being refused and having read the refusal. */
  #afterwards: number | null = null;
  #over = false;

  /**
   * @param isOpen whether the connection's keys are known, so that a boot log may come
   * @param tooMuch called with the reason if too much came
   */
  constructor(socket: Duplex, visitor: Visitor, { isOpen, tooMuch }: Events) {
    this.#socket = socket;
    this.#visitor = visitor;
    this.#onData = ({ length }) => {
      this.#sent += length;
      visitor.grow(length);
      if (this.#afterwards !== null) this.#wait(length);
      else if (this.#sent > (isOpen() ? bounds.sent.beforeProof : bounds.sent.beforeOpen))
        tooMuch(`${this.#sent} bytes, and nothing is proven`);
    };
    // Before the WebSocket's own listener: what is too much is refused before it is put together.
    socket.prependListener('data', this.#onData);
  }

  /** Its keys are enrolled: it has a place among those who claim this node. */
  claim(node: string): void {
    this.#visitor.claim(node);
  }

  /** It is refused: from now on it counts nothing but its bytes, and may not send more of these. */
  refused(): void {
    this.#visitor.free();
    this.#afterwards ??= bounds.sent.afterRefusal;
  }

  /** The connection proved itself. */
  prove(): void {
    this.end();
    this.#visitor.prove();
  }

  /** It is gone, or proven. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#socket.off('data', this.#onData);
    this.#visitor.leave();
  }

  #wait(length: number): void {
    this.#afterwards = (this.#afterwards ?? 0) - length;
    if (this.#afterwards < 0) this.#socket.pause();
  }
}

interface Events {
  readonly isOpen: () => boolean;
  readonly tooMuch: (text: string) => void;
}
