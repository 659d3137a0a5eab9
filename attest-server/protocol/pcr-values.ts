import { bankBytes, type PcrBank } from './messages.ts';

/** Values of some PCRs of one bank. */
export interface PcrValues {
  readonly bank: PcrBank;
  /** Bit i is set where PCR i is held. */
  readonly mask: number;
  /** The values in ascending order of their PCR, concatenated. */
  readonly values: Buffer;
}

/** The value of one PCR, a view; null where it is not held. */
export function pcrValue(held: PcrValues, pcr: number): Buffer | null {
  const at = pcrOffset(held, pcr);
  return at < 0 ? null : held.values.subarray(at, at + bankBytes[held.bank]);
}

/** Where the value of one PCR begins in `values`; -1 where it is not held. */
export function pcrOffset({ bank, mask, values }: PcrValues, pcr: number): number {
  if (((mask >>> pcr) & 1) === 0) return -1;
  const size = bankBytes[bank];
  const at = size * pcrCount(mask & ((1 << pcr) - 1));
  return at + size <= values.length ? at : -1;
}

/** How many PCRs a mask selects. */
export function pcrCount(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/** The numbers of the PCRs in a mask, ascending. */
export function pcrsOf(mask: number): number[] {
  return Array.from({ length: 24 }, (_, pcr) => pcr).filter((pcr) => (mask & (1 << pcr)) !== 0);
}
