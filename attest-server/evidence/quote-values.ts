import { z } from 'zod';
import type { Bundle } from '../formats/bundle.ts';
import type { QuotedBank } from '../verify/quote.ts';
import { bankBytes, type PcrBank, pcrBanks } from '../wire/messages.ts';

/** The PCR values of one quote in a third of their length: per bank those of the PCRs in the mask, ascending, as one. */
export const quoteValues = z.partialRecord(
  z.enum(pcrBanks),
  z.strictObject({
    /** Bit i is set if PCR i is in it. */
    mask: z.int().min(0).max(0xffffff),
    bytes: z.base64(),
  }),
);
export type QuoteValues = z.infer<typeof quoteValues>;

/** Of one quote, as they are exported: per bank its values by PCR, hex. */
export type QuotePcrs = Bundle['quotes'][number]['pcrs'];

/** Per quote: no two of one answer are of one bank, so that each has a digest of its own. */
export function packValues(banks: readonly QuotedBank[]): readonly QuoteValues[] {
  const quotes = new Map<string, QuoteValues>();
  for (const { bank, mask, values, pcrDigest } of banks) {
    const packed = quotes.get(pcrDigest) ?? {};
    packed[bank] = { mask, bytes: values.toString('base64') };
    quotes.set(pcrDigest, packed);
  }
  return [...quotes.values()];
}

export function unpackValues(packed: QuoteValues): QuotePcrs {
  const pcrs: QuotePcrs = {};
  for (const bank of pcrBanks) {
    const { mask = 0, bytes } = packed[bank] ?? {};
    if (bytes !== undefined) pcrs[bank] = valuesByPcr(Buffer.from(bytes, 'base64'), mask, bank);
  }
  return pcrs;
}

/** From one concatenation to one value a PCR. */
export function valuesByPcr(values: Buffer, mask: number, bank: PcrBank): Record<string, string> {
  const size = bankBytes[bank];
  const each: Record<string, string> = {};
  let at = 0;
  for (let pcr = 0; pcr < 24; pcr += 1) {
    if ((mask & (1 << pcr)) === 0) continue;
    each[pcr] = values.toString('hex', at, at + size);
    at += size;
  }
  return each;
}
