import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { parseEventLog } from '../../attest-server/verify/tpm/event-log.ts';
import { bootTpm } from '../../swtpm-fixtures/boot.ts';
import { startMachine } from '../../swtpm-fixtures/machine.ts';
import { launchTpm, type SoftwareTpm } from '../../swtpm-fixtures/tpm.ts';
import { recordedLog } from './recorded-log.ts';

/** Recorded boots of machines with a TPM 2.0. */
const boots = [
  'centos9-shim-grub',
  'debian10-shim-grub',
  'debian11-shim-grub',
  'debian13-sdboot-uki',
  'debian13-sdboot-uki-cmdline',
  'debian13-shim-grub',
  'debian13-shim-grub-cmdline',
  'debian13-shim-grub-kernel',
  'fedora41-locality-3',
  'rhel8-shim-grub',
];

describe('a boot with a recorded log', () => {
  let tpm: SoftwareTpm;
  before(async () => {
    tpm = await launchTpm();
  });
  after(() => tpm.stop());

  for (const name of boots) {
    it(`leaves in every bank what the log replays to: ${name}`, async () => {
      const log = recordedLog(name);
      await bootTpm(tpm, log);
      const { banks } = parseEventLog(log);
      const commands = await tpm.commands();
      let compared = 0;
      for (const bank of ['sha1', 'sha256', 'sha384'] as const) {
        for (const [pcr, expected] of Object.entries(banks[bank] ?? {})) {
          assert.equal(await commands.readPcr(bank, Number(pcr)), expected, `${bank} PCR ${pcr}`);
          compared += 1;
        }
      }
      await commands.close();
      assert.ok(compared >= 8);
    });
  }
});

describe('a fixture machine', () => {
  it('has a new boot id, one more reset and the new log at each boot', async () => {
    const log = recordedLog('debian13-shim-grub');
    const changed = recordedLog('debian13-shim-grub-kernel');
    await using machine = await startMachine({ log });
    const bootIdFile = join(machine.sysroot, 'proc/sys/kernel/random/boot_id');
    const logFile = join(machine.sysroot, 'sys/kernel/security/tpm0/binary_bios_measurements');
    const firstId = machine.bootId;
    const firstCount = await resetCount(machine.tpm);
    assert.equal(await readFile(bootIdFile, 'utf8'), `${firstId}\n`);
    assert.deepEqual(await readFile(logFile), log);

    await machine.powerCycle(changed);
    assert.notEqual(machine.bootId, firstId);
    assert.equal(await readFile(bootIdFile, 'utf8'), `${machine.bootId}\n`);
    assert.equal(await resetCount(machine.tpm), firstCount + 1);
    assert.deepEqual(await readFile(logFile), changed);
  });

  it('answers no command while its power is off, and boots again', async () => {
    const log = recordedLog('debian13-shim-grub');
    await using machine = await startMachine({ log });
    await machine.powerOff();
    assert.equal(machine.bootId, null);
    await assert.rejects(machine.tpm.commands());
    await machine.powerCycle(log, { orderly: true });
    assert.notEqual(machine.bootId, null);
  });

  it('has exactly the banks of the log that it was made with', async () => {
    await using machine = await startMachine({ log: recordedLog('rhel8-shim-grub') });
    const { banks } = parseEventLog(recordedLog('rhel8-shim-grub'));
    const commands = await machine.tpm.commands();
    for (const bank of ['sha1', 'sha256', 'sha384'] as const) {
      assert.equal((await commands.readPcr(bank, 0)) !== null, banks[bank] !== undefined, bank);
    }
    await commands.close();
  });
});

async function resetCount(tpm: SoftwareTpm): Promise<number> {
  const commands = await tpm.commands();
  const clock = await commands.readClock();
  await commands.close();
  return clock.resetCount;
}
