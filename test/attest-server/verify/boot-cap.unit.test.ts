import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { readCap } from '../../../attest-server/verify/boot-cap.ts';
import { hashPart } from '../../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../../attest-server/verify/measured-boot.ts';
import { bankBytes } from '../../../attest-server/wire/messages.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { banks, cap, capOf, type Extended, pcr15, stateOf, userSpaceLog } from './made-cap.ts';

const firmware = ['of the firmware', 'of its loader'];
const userSpace = ['machine-id:1', 'file-system:/', 'cryptsetup:docker'];
const all = [...firmware, ...userSpace];
const logs = { firmware, userSpace };

describe('a boot that no log says anything of', () => {
  it('is open while PCR 15 is zero, and capped once the cap alone was extended', () => {
    assert.equal(stateOf([]), 'open');
    assert.equal(stateOf([cap]), 'capped');
    assert.equal(stateOf(['anything']), 'unexplained');
    assert.equal(stateOf(['anything', cap]), 'unexplained');
  });

  it('is open by a log that extends other PCRs', () => {
    assert.equal(stateOf([], { firmware: [], userSpace: [] }), 'open');
    assert.equal(stateOf([cap], { firmware: [], userSpace: [] }), 'capped');
  });
});

describe('a boot by its logs', () => {
  it('is open where they lead to PCR 15 in their order, also if that of user space goes on', () => {
    assert.equal(stateOf(all, logs), 'open');
    assert.equal(stateOf(all.slice(0, -1), logs), 'open');
    assert.equal(stateOf(firmware, logs), 'open');
  });

  for (let at = 0; at <= all.length; at++)
    it(`is capped where the cap stands behind ${at} of their events`, () => {
      const extended: readonly Extended[] = [...all.slice(0, at), cap, ...all.slice(at)];
      assert.equal(stateOf(extended, logs), 'capped');
      const read = capOf({ sha256: extended, sha384: extended }, logs);
      assert.deepEqual(read.get('sha256')?.before, pcr15('sha256', all.slice(0, at)));
      assert.deepEqual(read.get('sha384')?.before, pcr15('sha384', all.slice(0, at)));
      assert.deepEqual(
        read.get('sha256')?.userSpace.map(({ describes }) => describes),
        userSpace,
      );
    });

  it('is capped before user space has measured all that its log says', () => {
    assert.equal(stateOf([...firmware, 'machine-id:1', cap], logs), 'capped');
    assert.equal(stateOf([...firmware, cap, 'machine-id:1'], logs), 'capped');
  });

  it('is capped where whoever caps it was interrupted and did it again', () => {
    assert.equal(stateOf([...all, cap, cap], logs), 'capped');
    assert.equal(stateOf([...firmware, cap, cap, cap, ...userSpace], logs), 'capped');
  });

  it('is unexplained where anything else was extended, or they say more than the firmware did', () => {
    const other: readonly Extended[] = [...all, 'something else'];
    assert.equal(stateOf(other, logs), 'unexplained');
    assert.equal(stateOf([...other, cap], logs), 'unexplained');
    assert.equal(stateOf([cap, ...other], logs), 'unexplained');
    assert.equal(stateOf(all.toReversed(), logs), 'unexplained');
    assert.equal(stateOf(firmware.slice(1), logs), 'unexplained');
    assert.equal(stateOf(all, { firmware }), 'unexplained');
  });

  it('is not open where whoever wrote the log put the cap into it as an event', () => {
    for (let at = 0; at <= userSpace.length; at++) {
      const said: readonly Extended[] = [...userSpace.slice(0, at), cap, ...userSpace.slice(at)];
      assert.equal(stateOf([...firmware, ...said], { firmware, userSpace: said }), 'capped');
    }
    assert.equal(stateOf([cap], { userSpace: [cap] }), 'capped');
    assert.equal(stateOf([], { userSpace: [cap] }), 'open');
  });

  it('is told bank by bank', () => {
    const read = capOf({ sha1: userSpace, sha256: [...userSpace, cap], sha384: ['other'] }, { userSpace });
    assert.deepEqual(
      [...read].map(([bank, { state }]) => [bank, state]),
      [
        ['sha1', 'open'],
        ['sha256', 'capped'],
        ['sha384', 'unexplained'],
      ],
    );
  });

  it('is unexplained in a bank of which the logs have no digests, once that was extended', () => {
    const read = capOf({ sha256: userSpace, sha384: userSpace }, { userSpace, carried: ['sha256'] });
    assert.equal(read.get('sha256')?.state, 'open');
    assert.equal(read.get('sha384')?.state, 'unexplained');
  });

  it('is unexplained where PCR 15 was not quoted', () => {
    const quoted = { bank: 'sha256', mask: 0x7fff, values: Buffer.alloc(15 * 32) } as const;
    assert.equal(readCap(null, [quoted], null).get('sha256')?.state, 'unexplained');
  });

  it('is found among as many events as a machine has, and not for any price among those that a liar writes', () => {
    const many = Array.from({ length: 60 }, (_, index) => `file-system:/${index}`);
    for (const at of [0, 30, 60])
      assert.equal(stateOf([...many.slice(0, at), cap, ...many.slice(at)], { userSpace: many }), 'capped');
    const lies = Array.from({ length: 300 }, (_, index) => `${index}`);
    const capped = (...extended: readonly Extended[]) =>
      capOf({ sha256: extended }, { userSpace: lies, carried: ['sha256'] }).get('sha256')?.state;
    assert.equal(capped(...lies, cap), 'capped');
    assert.equal(capped(cap, ...lies), 'unexplained');
  });
});

describe('PCR 15 of a recorded boot', () => {
  const log = recordedLog('debian13-shim-grub');
  const vouchedWith = (extended: readonly Extended[], said = userSpace) => {
    const quoted = banks.map((bank) => {
      const values = Buffer.from(replayedValues(log, bank));
      pcr15(bank, extended).copy(values, 15 * bankBytes[bank]);
      return { bank, mask: 0xffffff, values };
    });
    const { problems, userSpace: led } = replayBoot(hashPart(log), quoted, hashPart(userSpaceLog(said)));
    return [problems.length, led?.map(({ describes }) => describes)];
  };

  it('is vouched for with the cap as without it, and so is what user space measured', () => {
    assert.deepEqual(vouchedWith(userSpace), [0, userSpace]);
    assert.deepEqual(vouchedWith([...userSpace, cap]), [0, userSpace]);
    assert.deepEqual(vouchedWith(['machine-id:1', cap, 'file-system:/']), [0, userSpace.slice(0, 2)]);
    assert.deepEqual(vouchedWith([cap]), [0, []]);
    assert.deepEqual(vouchedWith([...userSpace, 'other', cap]), [0, []]);
  });
});
