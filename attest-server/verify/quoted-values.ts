import { bankBytes } from '../protocol/messages.ts';
import type { QuotedBank } from './proven.ts';

/** The quoted value of one PCR, a view; null where it was not quoted. */
export function quotedValue({ bank, mask, values }: QuotedBank, pcr: number): Buffer | null {
  if (((mask >>> pcr) & 1) === 0) return null;
  const size = bankBytes[bank];
  let position = 0;
  for (let below = 0; below < pcr; below++) position += (mask >>> below) & 1;
  const value = values.subarray(position * size, (position + 1) * size);
  return value.length === size ? value : null;
}

export function isZero(value: Buffer): boolean {
  for (const byte of value) if (byte !== 0) return false;
  return true;
}

/** True for a bank better than SHA-1 whose PCRs 0 to 7 were quoted in part at least, and are all zero. */
export function neverExtended(quoted: QuotedBank): boolean {
  if (quoted.bank === 'sha1' || (quoted.mask & 0xff) === 0) return false;
  for (let pcr = 0; pcr < 8; pcr++) {
    const value = quotedValue(quoted, pcr);
    if (value !== null && !isZero(value)) return false;
  }
  return true;
}
