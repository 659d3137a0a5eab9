import { hash } from 'node:crypto';
import { cryptoName, type LogBank, logBanks } from '../tpm/algorithms.ts';
import type { KnownDigest } from './vouched-log.ts';

/**
 * The digests of a separator: PC Client PFP 1.06, section 3.3.1. The last one says that the firmware failed; firmware of TPM
 * 1.2 is seen to measure one byte.
 */
export const separatorDigests = {
  zero: digestsOf(Buffer.alloc(4)),
  ones: digestsOf(Buffer.alloc(4, 0xff)),
  oneByte: digestsOf(Buffer.of(0xff)),
  error: digestsOf(Buffer.of(1, 0, 0, 0)),
} as const;

/** The text measured when the firmware hands the machine over. PC Client PFP 1.06, section 10.4.4. */
export const bootServicesLeftText = Buffer.from('Exit Boot Services Returned with Success');
export const bootServicesLeft = digestsOf(bootServicesLeftText);

/** A variable of one byte. */
export const oneByte = { on: digestsOf(Buffer.of(1)), off: digestsOf(Buffer.of(0)) } as const;

export function digestsOf(bytes: Buffer, banks: readonly LogBank[] = logBanks): KnownDigest {
  return Object.fromEntries(banks.map((bank) => [bank, hash(cryptoName(bank), bytes, 'buffer')]));
}
