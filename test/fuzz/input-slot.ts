/**
 * Memory that the thread of a parser shares with the one that watches it: which input is parsed at present. Who holds the
 * thread for ever, or its memory, cannot say it any more.
 */
export class InputSlot {
  readonly memory: SharedArrayBuffer;
  readonly #head: Int32Array;
  readonly #bytes: Uint8Array;

  /** @param memory of another slot, or the longest input in bytes */
  constructor(memory: SharedArrayBuffer | number) {
    this.memory = typeof memory === 'number' ? new SharedArrayBuffer(headBytes + memory) : memory;
    this.#head = new Int32Array(this.memory, 0, headBytes / 4);
    this.#bytes = new Uint8Array(this.memory, headBytes);
  }

  begin(input: Buffer): void {
    this.#bytes.set(input);
    this.#head[place.length] = input.length;
    Atomics.add(this.#head, place.turn, 1);
  }

  end(): void {
    Atomics.add(this.#head, place.turn, 1);
  }

  /** Counts begins and ends: odd while one is parsed. */
  get turn(): number {
    return Atomics.load(this.#head, place.turn);
  }

  /** A copy. */
  get input(): Buffer {
    return Buffer.from(this.#bytes.slice(0, this.#head[place.length]));
  }

  /** Has the thread of the parser end with its next batch. */
  stop(): void {
    Atomics.store(this.#head, place.stop, 1);
  }

  get isStopped(): boolean {
    return Atomics.load(this.#head, place.stop) === 1;
  }
}

const headBytes = 16;
const place = { turn: 0, length: 1, stop: 2 } as const;
