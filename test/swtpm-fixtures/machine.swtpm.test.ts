import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { imaLogPath } from '../../agent/collectors/ima-log.ts';
import { pcrBanks } from '../../attest-server/wire/messages.ts';
import { entriesIn, type MeasuredEntry } from '../../swtpm-fixtures/ima-list.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { recordedList, recordedLog } from './recorded-log.ts';

const log = recordedLog('debian13-shim-grub');
const ran = recordedList('debian13-shim-grub');

/** Each test goes on where the one before it ended. */
describe('a machine with a recorded list of IMA', () => {
  let machine: FixtureMachine;
  before(async () => {
    machine = await startMachine({ log, ran });
  });
  after(() => machine?.dispose());

  const shown = () => readFile(join(machine.sysroot, imaLogPath));
  /** PCR 10 of each bank that its TPM has. */
  async function held(): Promise<Readonly<Record<string, string>>> {
    const commands = await machine.tpm.commands();
    try {
      const values: Record<string, string> = {};
      for (const bank of pcrBanks) {
        const value = await commands.readPcr(bank, 10);
        if (value !== null) values[bank] = value;
      }
      return values;
    } finally {
      await commands.close();
    }
  }
  /** What these entries lead to, in the banks of that machine. */
  const replayed = (entries: readonly MeasuredEntry[]) =>
    Object.fromEntries(
      (['sha1', 'sha256', 'sha384', 'sha512'] as const).map((bank) => {
        let value = Buffer.alloc(hash(bank, '', 'buffer').length);
        for (const { digests } of entries)
          value = hash(bank, Buffer.concat([value, digests[bank]]), 'buffer');
        return [bank, value.toString('hex')];
      }),
    );

  it('shows the list of that boot byte for byte, its boot_aggregate made from its own PCRs', async () => {
    assert.deepEqual(await shown(), ran);
  });

  it('has extended PCR 10 of each bank with all of it', async () => {
    assert.deepEqual(await held(), replayed(entriesIn(ran)));
  });

  it('adds to both what runs later', async () => {
    await machine.run('/tmp/miner', 'mine');
    const list = await shown();
    assert.deepEqual(list.subarray(0, ran.length), ran);
    assert.ok(list.includes(hash('sha256', 'mine', 'buffer')) && list.includes('/tmp/miner\0'));
    assert.deepEqual(await held(), replayed(entriesIn(list)));
  });

  it('has another boot_aggregate with another kernel, and the same after it', async () => {
    await machine.powerCycle(tamper(log, 'kernel'));
    const [first, ...others] = entriesIn(await shown());
    const [recorded, ...same] = entriesIn(ran);
    assert.deepEqual(
      others.map(({ bytes }) => bytes),
      same.map(({ bytes }) => bytes),
    );
    assert.notDeepEqual(first?.bytes, recorded?.bytes);
    assert.deepEqual(await held(), replayed(entriesIn(await shown())));
  });
});
