/** Events by their offsets in the log's bytes, a column for each property; entry i of each is event i. */
export interface EventColumns {
  readonly pcrs: Uint32Array;
  readonly types: Uint32Array;
  /** Where each event begins and where it ends. */
  readonly offsets: Uint32Array;
  readonly ends: Uint32Array;
  /** Where its data begins, which runs to its end. */
  readonly dataOffsets: Uint32Array;
  /** How many digests it carries of the algorithms that the header declares, unknown ones too. */
  readonly digestCounts: Uint8Array;
  /** For each bank where its digest lies; 0 where it has none: offset 0 can never hold one. */
  readonly digests: readonly Uint32Array[];
}

const firstCapacity = 128;
const plainColumns = 5;

/** Grows by doubling, by events that were really read: a log cannot name its own number. */
export class EventTable {
  readonly #banks: number;
  #columns: EventColumns;
  #capacity = firstCapacity;
  #count = 0;

  constructor(banks: number) {
    this.#banks = banks;
    this.#columns = emptyColumns(banks, firstCapacity);
  }

  get count(): number {
    return this.#count;
  }

  get columns(): EventColumns {
    return this.#columns;
  }

  /** Adds an event without digests; the columns are those after it. */
  add(pcr: number, type: number, offset: number): number {
    const index = this.#count;
    if (index === this.#capacity) this.#grow();
    const { pcrs, types, offsets } = this.#columns;
    pcrs[index] = pcr;
    types[index] = type;
    offsets[index] = offset;
    this.#count = index + 1;
    return index;
  }

  #grow(): void {
    const old = this.#columns;
    const next = emptyColumns(this.#banks, this.#capacity * 2);
    for (const name of ['pcrs', 'types', 'offsets', 'ends', 'dataOffsets', 'digestCounts'] as const)
      next[name].set(old[name]);
    for (const [bank, offsets] of next.digests.entries()) offsets.set(old.digests[bank] ?? []);
    this.#columns = next;
    this.#capacity *= 2;
  }
}

/** One allocation for all columns: a log of a hundred events is common, and cut within microseconds. */
function emptyColumns(banks: number, capacity: number): EventColumns {
  const memory = new ArrayBuffer(capacity * (4 * (plainColumns + banks) + 1));
  const column = (index: number) => new Uint32Array(memory, index * capacity * 4, capacity);
  return {
    pcrs: column(0),
    types: column(1),
    offsets: column(2),
    ends: column(3),
    dataOffsets: column(4),
    digestCounts: new Uint8Array(memory, capacity * 4 * (plainColumns + banks), capacity),
    digests: Array.from({ length: banks }, (_, bank) => column(plainColumns + bank)),
  };
}
