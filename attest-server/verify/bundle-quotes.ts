import type { Bundle } from '../formats/bundle.ts';
import { bankBytes, pcrBanks } from '../wire/messages.ts';
import { Rejection } from '../wire/rejection.ts';
import type { QuoteEvidence } from './quote.ts';

/**
 * A bundle's quotes in the form that `verify` takes: one value a PCR becomes one concatenation a bank.
 * @throws Rejection `malformed` for a PCR that does not exist, or a value of a wrong size
 */
export function quotesOf(quotes: Bundle['quotes']): QuoteEvidence[] {
  return quotes.map(({ attest, signature, pcrs }, quote) => {
    const values: Partial<Record<(typeof pcrBanks)[number], Buffer>> = {};
    const carried: Partial<Record<(typeof pcrBanks)[number], number>> = {};
    for (const bank of pcrBanks) {
      const named = pcrs[bank];
      if (named === undefined) continue;
      const present = Object.keys(named).map((pcr) => checkIndex(pcr, `quotes.${quote}.pcrs.${bank}`));
      present.sort((a, b) => a - b);
      carried[bank] = present.reduce((mask, pcr) => mask | (1 << pcr), 0);
      values[bank] = Buffer.concat(
        present.map((pcr) =>
          checkValue(named[pcr] ?? '', bankBytes[bank], `quotes.${quote}.pcrs.${bank}.${pcr}`),
        ),
      );
    }
    return {
      attest: Buffer.from(attest, 'base64'),
      signature: Buffer.from(signature, 'base64'),
      pcrs: values,
      carried,
    };
  });
}

function checkIndex(pcr: string, field: string): number {
  if (/^([0-9]|1[0-9]|2[0-3])$/.test(pcr)) return Number(pcr);
  throw new Rejection('malformed', `bundle field ${field}: no PCR from 0 to 23`, { field });
}

function checkValue(hex: string, size: number, field: string): Buffer {
  if (hex.length === 2 * size) return Buffer.from(hex, 'hex');
  throw new Rejection('malformed', `bundle field ${field}: not a value of ${size} bytes`, { field });
}
