import { bankBytes } from '../protocol/messages.ts';
import type { QuotedBank } from './proven.ts';
import type { ReplayedBank } from './tpm/replay.ts';

/** The quoted value of one PCR, a view; null where it was not quoted. */
export function quotedValue(quoted: QuotedBank, pcr: number): Buffer | null {
  const at = quotedOffset(quoted, pcr);
  return at < 0 ? null : quoted.values.subarray(at, at + bankBytes[quoted.bank]);
}

/** Where the quoted value of one PCR begins in `values`; -1 where it was not quoted. */
function quotedOffset({ bank, mask, values }: QuotedBank, pcr: number): number {
  if (((mask >>> pcr) & 1) === 0) return -1;
  const size = bankBytes[bank];
  let at = 0;
  for (let below = mask & ((1 << pcr) - 1); below !== 0; below &= below - 1) at += size;
  return at + size <= values.length ? at : -1;
}

/**
 * What a log's replay gives, beside what was quoted: `unquoted`, `same`, `different`; `untouched` where the log does not
 * extend this PCR and it is zero, `unlogged` where it is not.
 */
export type Comparison = 'unquoted' | 'same' | 'different' | 'untouched' | 'unlogged';

export function compareReplay(quoted: QuotedBank, replayed: ReplayedBank | null, pcr: number): Comparison {
  const at = quotedOffset(quoted, pcr);
  if (at < 0) return 'unquoted';
  const size = bankBytes[quoted.bank];
  if (replayed === null || ((replayed.extended >>> pcr) & 1) === 0)
    return isZero(quoted.values, at, size) ? 'untouched' : 'unlogged';
  const start = pcr * size * 2;
  const same = replayed.scratch.compare(quoted.values, at, at + size, start, start + size) === 0;
  return same ? 'same' : 'different';
}

function isZero(bytes: Buffer, at: number, size: number): boolean {
  for (let i = at; i < at + size; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** True for a bank better than SHA-1 whose PCRs 0 to 7 were quoted in part at least, and are all zero. */
export function neverExtended(quoted: QuotedBank): boolean {
  if (quoted.bank === 'sha1' || (quoted.mask & 0xff) === 0) return false;
  for (let pcr = 0; pcr < 8; pcr++) {
    const at = quotedOffset(quoted, pcr);
    if (at >= 0 && !isZero(quoted.values, at, bankBytes[quoted.bank])) return false;
  }
  return true;
}
