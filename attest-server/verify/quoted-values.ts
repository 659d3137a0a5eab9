import { hash } from 'node:crypto';
import { bankBytes } from '../protocol/messages.ts';
import type { QuotedBank } from './proven.ts';
import { pcrCount } from './tpm/attest.ts';
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
  const at = size * pcrCount(mask & ((1 << pcr) - 1));
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

/** PCRs that a boot log is replayed onto. IMA extends PCR 10 with every new file, and those from 16 on are nobody's. */
const measuredPcrs = 0xffff & ~(1 << 10);

/** True where a boot log, replayed onto either values, gives the same answer. */
export function sameMeasuredPcrs(some: readonly QuotedBank[], others: readonly QuotedBank[]): boolean {
  if (some.length !== others.length) return false;
  for (let i = 0; i < some.length; i++) {
    const one = some[i]!;
    const other = others[i]!;
    if (one.bank !== other.bank || one.mask !== other.mask) return false;
    if (one.pcrDigest === other.pcrDigest && one.pcrDigest !== '') continue;
    for (let pcr = 0; pcr < 16; pcr++)
      if (((measuredPcrs >>> pcr) & 1) === 1 && !sameValue(one, other, pcr)) return false;
  }
  return true;
}

function sameValue(one: QuotedBank, other: QuotedBank, pcr: number): boolean {
  const at = quotedOffset(one, pcr);
  if (at !== quotedOffset(other, pcr)) return false;
  const end = at + bankBytes[one.bank];
  return at < 0 || one.values.compare(other.values, at, end, at, end) === 0;
}

/** One name for the measured values of all banks: equal where a boot log, replayed onto either, gives the same answer. */
export function measuredDigest(banks: readonly QuotedBank[]): string {
  const parts: (string | Buffer)[] = [];
  for (const quoted of banks) {
    parts.push(`${quoted.bank} ${quoted.mask & measuredPcrs} `);
    for (let pcr = 0; pcr < 16; pcr++)
      if (((measuredPcrs >>> pcr) & 1) === 1) parts.push(quotedValue(quoted, pcr) ?? '');
  }
  return hash('sha256', Buffer.concat(parts.map((part) => Buffer.from(part))), 'hex');
}
