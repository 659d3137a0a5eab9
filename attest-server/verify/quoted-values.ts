import { bankBytes } from '../wire/messages.ts';
import { type PcrValues, pcrOffset } from '../wire/pcr-values.ts';
import type { ReplayedBank } from './tpm/replay.ts';

/**
 * The outcome of a log's replay, compared with the quote: `unquoted`, `same`, `different`; `untouched` if the log does not
 * extend this PCR and it is zero, `unlogged` if it is not.
 */
export type Comparison = 'unquoted' | 'same' | 'different' | 'untouched' | 'unlogged';

export function compareReplay(quoted: PcrValues, replayed: ReplayedBank | null, pcr: number): Comparison {
  const at = pcrOffset(quoted, pcr);
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
export function neverExtended(quoted: PcrValues): boolean {
  if (quoted.bank === 'sha1' || (quoted.mask & 0xff) === 0) return false;
  for (let pcr = 0; pcr < 8; pcr++) {
    const at = pcrOffset(quoted, pcr);
    if (at >= 0 && !isZero(quoted.values, at, bankBytes[quoted.bank])) return false;
  }
  return true;
}
