import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { firstDifference } from '../../attest-server/policy/boot/event-diff.ts';
import { parseEventLog } from '../../attest-server/verify/tpm/event-log.ts';
import { pcrBanks } from '../../attest-server/wire/messages.ts';
import { tamper, tamperEvent } from '../../swtpm-fixtures/tamper.ts';
import { recordedLog, shimGrubBoots } from './recorded-log.ts';

const pcrs = [0, 2, 4, 6, 7, 8, 9, 14];
const changedPcrs = (log: Buffer, other: Buffer) => {
  const [before, after] = [log, other].map((bytes) => parseEventLog(bytes).banks.sha256 ?? {});
  return pcrs.filter((pcr) => before?.[pcr] !== after?.[pcr]);
};

describe('a tampered boot', () => {
  for (const what of ['kernel', 'cmdline', 'secureboot'] as const)
    for (const name of shimGrubBoots)
      it(`of ${name} differs in the ${what}, in every bank`, () => {
        const log = recordedLog(name);
        const [before, after] = [parseEventLog(log), parseEventLog(tamper(log, what))];
        for (const bank of pcrBanks.filter((one) => before.banks[one] !== undefined))
          assert.equal(firstDifference(before.events, after.events, pcrs, bank)?.stage, what);
      });

  it('measures its kernel in PCR 4 and PCR 9 under GRUB', () => {
    const log = recordedLog('debian13-shim-grub');
    assert.deepEqual(changedPcrs(log, tamper(log, 'kernel')), [4, 9]);
  });

  it('has data that still hash to their digests', () => {
    const log = recordedLog('debian13-shim-grub');
    const lost = (bytes: Buffer) => parseEventLog(bytes).events.filter(({ verified }) => !verified).length;
    for (const what of ['kernel', 'cmdline', 'secureboot'] as const)
      assert.equal(lost(tamper(log, what)), lost(log));
  });

  it('authorises nothing once Secure Boot is off', () => {
    const after = parseEventLog(tamper(recordedLog('debian13-shim-grub'), 'secureboot'));
    const authorities = after.events.filter(({ type }) => type === 'EV_EFI_VARIABLE_AUTHORITY');
    assert.ok(authorities.every(({ describes }) => describes.startsWith('SbatLevel')));
    assert.ok(after.events.some(({ describes }) => describes === 'SecureBoot = 00'));
  });

  it('changes a unified image with its command line', () => {
    const log = recordedLog('debian13-sdboot-uki');
    assert.deepEqual(changedPcrs(log, tamper(log, 'cmdline')), [4, 9]);
  });

  it('cannot be made of a log that does not measure the component', () => {
    assert.throws(() => tamper(recordedLog('short-no-action'), 'kernel'), /does not measure a kernel/);
    assert.throws(() => tamper(recordedLog('debian13-sdboot-uki'), 'secureboot'), /Secure Boot/);
  });
});

describe('a single event changed', () => {
  const log = recordedLog('debian13-shim-grub');

  it('keeps its digest where only data or type change', () => {
    const event = parseEventLog(tamperEvent(log, 9, { data: Buffer.from('x'), type: 5 })).events[9];
    assert.equal(event?.type, 'EV_ACTION');
    assert.deepEqual(event?.digests, parseEventLog(log).events[9]?.digests);
    assert.equal(event?.verified, false);
  });

  it('must exist', () => assert.throws(() => tamperEvent(log, 999, {}), /event 999/));
});
