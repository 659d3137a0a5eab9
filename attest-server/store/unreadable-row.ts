/** A row that cannot be parsed: damaged, or of another version. A list leaves it out, and does not fail. */
export class UnreadableRow extends Error {
  override readonly name = 'UnreadableRow';
  readonly table: string;
  /** The row's key: a node's name, a reference's name, a digest, a number in the audit log. */
  readonly key: string;

  constructor(table: string, key: string, cause: unknown) {
    super(
      `the ${table} row of ${key} in the store cannot be read: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    );
    this.table = table;
    this.key = key;
  }
}

export type OnUnreadable = (row: UnreadableRow) => void;

/** @throws UnreadableRow if `parse` throws */
export function parseRow<T>(table: string, key: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new UnreadableRow(table, key, cause);
  }
}

/** The readable rows, in order; the others are reported to `onUnreadable` and left out. */
export function parseRows<R, T>(
  rows: readonly R[],
  parse: (row: R) => T,
  onUnreadable: OnUnreadable,
): readonly T[] {
  const values: T[] = [];
  for (const row of rows) {
    try {
      values.push(parse(row));
    } catch (error) {
      if (!(error instanceof UnreadableRow)) throw error;
      onUnreadable(error);
    }
  }
  return values;
}
