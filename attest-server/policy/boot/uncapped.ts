import type { Proven } from '../../verify/proven.ts';
import { capPcr } from '../../wire/cap.ts';
import { bankBytes } from '../../wire/messages.ts';
import { type PcrValues, pcrOffset } from '../../wire/pcr-values.ts';

/** The values with PCR 15 as it was before the boot was capped: what a reference has of it holds before and after. */
export function uncapped({ banks, cap }: Pick<Proven, 'banks' | 'cap'>): readonly PcrValues[] {
  return banks.map((quoted): PcrValues => {
    const { before = null } = cap.get(quoted.bank) ?? {};
    const at = pcrOffset(quoted, capPcr);
    if (before === null || at < 0) return quoted;
    const { bank, mask, values } = quoted;
    const end = at + bankBytes[bank];
    return { bank, mask, values: Buffer.concat([values.subarray(0, at), before, values.subarray(end)]) };
  });
}
