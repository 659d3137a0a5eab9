import { type PcrBank, pcrBanks } from '../attest-server/protocol/messages.ts';
import { aggregateEntry } from './ima-list.ts';
import type { SoftwareTpm } from './tpm.ts';

/**
 * What a kernel with IMA and without a policy does before any user space runs: it extends PCR 10 with a hash over PCRs 0
 * to 9. Gives its list.
 */
export async function startKernel(tpm: SoftwareTpm): Promise<Buffer> {
  const commands = await tpm.commands();
  try {
    const values: Partial<Record<PcrBank, Buffer>> = {};
    for (const bank of pcrBanks) {
      const pcrs: string[] = [];
      for (let pcr = 0; pcr < 10; pcr++) {
        const value = await commands.readPcr(bank, pcr);
        if (value !== null) pcrs.push(value);
      }
      if (pcrs.length === 10) values[bank] = Buffer.from(pcrs.join(''), 'hex');
    }
    const allocated = pcrBanks.filter((bank) => values[bank] !== undefined);
    const bank = allocated.find((one) => one === 'sha256') ?? allocated.at(-1);
    const found = bank && values[bank];
    if (bank === undefined || found === undefined)
      throw new Error('this TPM has no bank that a kernel knows');
    const { bytes, digests } = aggregateEntry(bank, found);
    const extended = allocated.map((one) => [one, digests[one].toString('hex')]);
    await commands.extend(10, Object.fromEntries(extended));
    return bytes;
  } finally {
    await commands.close();
  }
}
