import type { Reference } from '../../formats/reference.ts';
import { bankBytes, type PcrBank } from '../../wire/messages.ts';
import { type PcrValues, pcrCount, pcrsOf, pcrValue } from '../../wire/pcr-values.ts';

/**
 * PCRs that a reference by values must name where they are quoted: 0, 2, 4, 6, 7, 8 and 9. PCRs 1, 3 and 5 hold what
 * differs from machine to machine; from 10 on they grow while the system runs. Where one names them, they count.
 */
export const comparedMask = 0b11_1101_0101;

/** Where systemd's loader and stub put command lines and extensions; zero where there is none. */
export const addOnPcrs: readonly number[] = [12, 13];

/** IMA's, and those behind 15: the digest of what was measured (`measuredDigest`) leaves them out. */
export const unmeasuredMask = 0xff_0400;

/** The PCRs of this quote that a reference by values must name. */
export function namedMask(quoted: PcrValues): number {
  let mask = quoted.mask & comparedMask;
  for (const pcr of addOnPcrs) if (isExtended(quoted, pcr)) mask |= 1 << pcr;
  return mask;
}

export function isExtended(quoted: PcrValues, pcr: number): boolean {
  const value = pcrValue(quoted, pcr);
  return value !== null && value.compare(zeros, 0, value.length) !== 0;
}

const zeros = Buffer.alloc(Math.max(...Object.values(bankBytes)));

/** Banks that are compared, strongest first. SHA-1 is not: collisions of it can be made. */
export const comparedBanks = ['sha512', 'sha384', 'sha256'] as const satisfies readonly PcrBank[];

/** The strongest digest, which is what is compared, as `sha256:…`; null if there is SHA-1 alone, or none. */
export function strongestDigest(
  digests: Readonly<Partial<Record<PcrBank, string | undefined>>>,
): string | null {
  const bank = comparedBanks.find((one) => digests[one] !== undefined);
  return bank === undefined ? null : `${bank}:${digests[bank]}`;
}

/** The PCRs of one bank that a reference names. */
export interface ReferenceBank {
  readonly bank: PcrBank;
  /** Bit i is set where the reference names PCR i. */
  readonly mask: number;
  /** The values in ascending order of their PCR, concatenated. */
  readonly values: Buffer;
}

/** Null if the reference has no usable value of this bank; a value of a wrong size makes the bank unusable. */
export function referenceBank({ pcrs }: Reference, bank: PcrBank): ReferenceBank | null {
  const named = pcrs[bank] ?? {};
  const values: Buffer[] = [];
  let mask = 0;
  for (const pcr of pcrsOf(0xffffff)) {
    const hex = named[String(pcr)];
    if (hex === undefined) continue;
    if (hex.length !== 2 * bankBytes[bank]) return null;
    mask |= 1 << pcr;
    values.push(Buffer.from(hex, 'hex'));
  }
  return mask === 0 ? null : { bank, mask, values: Buffer.concat(values) };
}

/** A stretch of PCRs that lie side by side in quote and reference: byte offsets in both, and the bytes' number. */
interface PcrRun {
  readonly quoted: number;
  readonly reference: number;
  readonly length: number;
}

/** The stretches in which the PCRs of `referenced` lie in a quote of `mask`, which has them all. */
export function runsOf(referenced: number, mask: number, bank: PcrBank): readonly PcrRun[] {
  const size = bankBytes[bank];
  const runs: { quoted: number; reference: number; length: number }[] = [];
  for (const [index, pcr] of pcrsOf(referenced).entries()) {
    const quoted = size * pcrCount(mask & ((1 << pcr) - 1));
    const last = runs.at(-1);
    if (last && last.quoted + last.length === quoted) last.length += size;
    else runs.push({ quoted, reference: size * index, length: size });
  }
  return runs;
}
