import { shellWord } from '../wire/advice.ts';

/** Words for programs: which part of a database is damaged. */
export type DamageKind =
  | 'no_database'
  | 'foreign'
  | 'newer'
  | 'older'
  | 'cut_short'
  | 'too_long'
  | 'pages'
  | 'rows'
  | 'audit_log';

/** One damaged part of a database's file. */
export interface DatabaseDamage {
  readonly kind: DamageKind;
  /** Null if it is the file as a whole. */
  readonly table: string | null;
  /** For a person, without the name of the file. */
  readonly text: string;
}

/** The part of the file that `fileDamage` looks at (SQLite, "Database File Format", section 1.3). */
export const headerBytes = 100;

/** The first bytes of each database. */
export const databaseMagic = Buffer.from('SQLite format 3\0');

/**
 * Damage that shows in the header and size of a database's file; null if there is none.
 * @param hasLog whether a write-ahead log lies beside it: the latest header and pages may be there alone
 */
export function fileDamage(header: Uint8Array, size: number, hasLog: boolean): DatabaseDamage | null {
  if (size === 0)
    return hasLog
      ? null
      : damage('cut_short', 'it is empty: all of its content is gone, or it never had any');
  if (header.length < headerBytes || !databaseMagic.equals(header.subarray(0, databaseMagic.length)))
    return damage(
      'no_database',
      `it does not begin as a database does: its first bytes are overwritten, or it is another file (${size} bytes)`,
    );
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const pageBytes = view.getUint16(16) === 1 ? 65_536 : view.getUint16(16);
  const isWhole =
    pageBytes >= 512 &&
    Number.isInteger(Math.log2(pageBytes)) &&
    view.getUint8(21) === 64 &&
    view.getUint8(22) === 32 &&
    view.getUint8(23) === 32;
  if (!isWhole) return damage('no_database', 'its header (bytes 0 to 99) is overwritten');
  const expected = view.getUint32(28) * pageBytes;
  // Two counters that differ: the program that wrote last did not say how many pages there are.
  if (hasLog || expected === 0 || view.getUint32(24) !== view.getUint32(92) || size === expected) return null;
  const [kind, how] =
    size < expected ? (['cut_short', 'cut short'] as const) : (['too_long', 'too long'] as const);
  return damage(kind, `it is ${how}: it has ${size} bytes, and its header says ${expected}`);
}

function damage(kind: DamageKind, text: string): DatabaseDamage {
  return { kind, table: null, text };
}

/** The command that says which parts are damaged, and which copy is whole: a line that begins with two blanks. */
export function damageAdvice(stateDir: string): string {
  return `See what is damaged, which copy is whole, and how to put it in place:\n  assay-server check --store --state-dir ${shellWord(stateDir)}`;
}

/**
 * Commands that put a whole copy in the place of a damaged database; the server must be stopped before.
 * @param kept a folder that does not exist yet: the damaged files move there
 */
export function restoreCommands(stateDir: string, copy: string, kept: string): readonly string[] {
  const [from, aside] = [shellWord(stateDir), shellWord(kept)];
  return [
    `mkdir -m 700 ${aside}`,
    `mv ${from}/assay.db* ${aside}`,
    `cp -p ${shellWord(copy)} ${from}/assay.db`,
  ];
}
