/**
 * `crash`: an error that the parser does not declare. `hang`: more time than its length allows. `growth`: memory that stays
 * taken. `bloat`: memory that one input takes. `unsteady`: two answers to the same input.
 */
export type FindingKind = 'crash' | 'hang' | 'growth' | 'bloat' | 'unsteady';

export interface Finding {
  readonly kind: FindingKind;
  /** Two with the same place are one. */
  readonly place: string;
  /** The error's message, or the figure. */
  readonly text: string;
  /** Where the input was written; null where it could not be told which one it was. */
  readonly file: string | null;
  /** Of the input, once it was made small. */
  readonly bytes: number;
}

export interface Bounds {
  /** Milliseconds of processor time for an input of up to `per` bytes; longer ones may take more, in proportion. */
  readonly hang: number;
  readonly per: number;
  /** Bytes that an input may take besides `bloatPerByte` of its own. */
  readonly bloat: number;
  readonly bloatPerByte: number;
  /** Bytes that stay taken after a collection, over those after the first inputs. */
  readonly growth: number;
}

export const bounds: Bounds = {
  hang: 100,
  per: 64 * 1024,
  bloat: 32 * 1024 * 1024,
  bloatPerByte: 1024,
  growth: 32 * 1024 * 1024,
};
