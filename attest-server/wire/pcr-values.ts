import { hash } from 'node:crypto';
import { bankBytes, type PcrBank } from './messages.ts';

/** Values of some PCRs of one bank. */
export interface PcrValues {
  readonly bank: PcrBank;
  /** Bit i is set where PCR i is held. */
  readonly mask: number;
  /** The values in ascending order of their PCR, concatenated. */
  readonly values: Buffer;
}

/** The value of one PCR, a view; null if it is not held. */
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

/** How many PCRs a mask selects. In pairs, fours and eights of bits at once: it is asked for each PCR of each quote. */
export function pcrCount(mask: number): number {
  const pairs = mask - ((mask >>> 1) & 0x55555555);
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** The numbers of the PCRs in a mask, ascending. */
export function pcrsOf(mask: number): number[] {
  return Array.from({ length: 24 }, (_, pcr) => pcr).filter((pcr) => (mask & (1 << pcr)) !== 0);
}

/**
 * A hash over PCRs 0 to `last` of their own bank, `sha256:…`, as the kernel makes it when it starts
 * (security/integrity/ima/ima_crypto.c, ima_calc_boot_aggregate); null if one of them is not held.
 */
export function bootAggregateOf(
  { bank, mask, values }: PcrValues,
  last: 7 | 9,
): `${PcrBank}:${string}` | null {
  const all = (1 << (last + 1)) - 1;
  const bytes = (last + 1) * bankBytes[bank];
  if ((mask & all) !== all || values.length < bytes) return null;
  return `${bank}:${hash(bank, values.subarray(0, bytes), 'hex')}`;
}
