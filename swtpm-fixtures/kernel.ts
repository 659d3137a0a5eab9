import { type PcrBank, pcrBanks } from '../attest-server/wire/messages.ts';
import type { TpmCommands } from './commands.ts';
import { aggregateEntry, entriesIn, type MeasuredEntry } from './ima-list.ts';
import type { SoftwareTpm } from './tpm.ts';

/**
 * What a kernel with IMA does: before any user space runs, it extends PCR 10 with a hash over PCRs 0 to 9, and then with
 * what a policy has it measure. Gives its list.
 * @param ran the recorded list of such a boot, of which all but the first entry is taken; null: there is no policy
 */
export async function startKernel(tpm: SoftwareTpm, ran: Buffer | null): Promise<Buffer> {
  const commands = await tpm.commands();
  try {
    const banks = await allocatedIn(commands);
    const bank = banks.find((one) => one === 'sha256') ?? banks.at(-1);
    if (bank === undefined) throw new Error('this TPM has no bank that a kernel knows');
    const aggregate = aggregateEntry(bank, await valuesOf(commands, bank));
    const entries = [aggregate, ...(ran === null ? [] : entriesIn(ran).slice(1))];
    for (const entry of entries) await extend(commands, banks, entry);
    return Buffer.concat(entries.map(({ bytes }) => bytes));
  } finally {
    await commands.close();
  }
}

/** Extends PCR 10 with an entry, which is in the list already, as a kernel does it. */
export async function extendEntry(tpm: SoftwareTpm, entry: MeasuredEntry): Promise<void> {
  const commands = await tpm.commands();
  try {
    await extend(commands, await allocatedIn(commands), entry);
  } finally {
    await commands.close();
  }
}

function extend(commands: TpmCommands, banks: readonly PcrBank[], { digests }: MeasuredEntry): Promise<void> {
  return commands.extend(10, Object.fromEntries(banks.map((bank) => [bank, digests[bank].toString('hex')])));
}

async function allocatedIn(commands: TpmCommands): Promise<readonly PcrBank[]> {
  const banks: PcrBank[] = [];
  for (const bank of pcrBanks) if ((await commands.readPcr(bank, 0)) !== null) banks.push(bank);
  return banks;
}

/** Of PCRs 0 to 9. */
async function valuesOf(commands: TpmCommands, bank: PcrBank): Promise<Buffer> {
  const values: string[] = [];
  for (let pcr = 0; pcr < 10; pcr++) values.push((await commands.readPcr(bank, pcr)) ?? '');
  return Buffer.from(values.join(''), 'hex');
}
