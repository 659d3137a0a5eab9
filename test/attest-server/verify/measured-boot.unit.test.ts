import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { hashPart } from '../../../attest-server/verify/hashed-part.ts';
import { checkBankExtended, replayBoot } from '../../../attest-server/verify/measured-boot.ts';
import { parseEventLog } from '../../../attest-server/verify/tpm/event-log.ts';
import { parseRawLog } from '../../../attest-server/verify/tpm/log-format.ts';
import { bankBytes, type PcrBank } from '../../../attest-server/wire/messages.ts';
import type { PcrValues } from '../../../attest-server/wire/pcr-values.ts';
import { tamperEvent } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { event, header } from './tpm/log-builder.ts';

const bytes = recordedLog('debian13-shim-grub');
const { banks, events } = parseEventLog(bytes);

/** All 24 PCRs, as the log leaves them; `other` by PCR replaces a value. */
function quoted(bank: PcrBank, other: Readonly<Record<number, string>> = {}): PcrValues {
  const zero = '00'.repeat(bankBytes[bank]);
  const values = Array.from({ length: 24 }, (_, pcr) => other[pcr] ?? banks[bank]?.[pcr] ?? zero);
  return { bank, mask: 0xffffff, values: Buffer.from(values.join(''), 'hex') };
}

const problems = (log: Buffer, ...quotes: readonly PcrValues[]) =>
  replayBoot(hashPart(log), quotes).problems.map(({ code, pcr }) => [code, pcr]);
const anything = '5a'.repeat(32);

describe('a firmware log beside quoted PCRs', () => {
  it('has no problem where it replays in all banks', () =>
    assert.deepEqual(problems(bytes, quoted('sha1'), quoted('sha256'), quoted('sha384')), []));

  it('does not replay where a digest was changed', () => {
    const at = events.findIndex(({ pcr, stage }) => pcr === 4 && stage === 'kernel');
    assert.deepEqual(problems(tamperEvent(bytes, at, { digest: { sha256: anything } }), quoted('sha256')), [
      ['log_replay_mismatch', 4],
    ]);
  });

  it('does not replay where its tail is cut off', () => {
    const raw = parseRawLog(bytes);
    const end = raw.ends[raw.count - 2];
    assert.deepEqual(problems(bytes.subarray(0, end), quoted('sha256')), [['log_replay_mismatch', 5]]);
  });

  it('is incomplete where a PCR was extended that it does not know', () => {
    const log = recordedLog('debian13-sdboot-uki');
    const values = parseEventLog(log).banks.sha256 ?? {};
    const quote = quoted('sha256', { ...values, 8: anything, 14: '00'.repeat(32) });
    assert.deepEqual(problems(log, quote), [['log_incomplete', 8]]);
  });

  it('is told once to be of another bank, as old firmware writes it, which extended the quoted one as well', () => {
    const old = recordedLog('sha1-tpm12');
    assert.deepEqual(problems(old, quoted('sha256')), [['log_incomplete', null]]);
    const [told] = replayBoot(hashPart(old), [quoted('sha256')]).problems;
    assert.match(told?.text ?? '', /sha256.* sha1/);
  });

  it('is told to be of one bank where two were extended', () => {
    const [alone, other] = [recordedLog('centos9-shim-grub'), quoted('sha384')];
    const values = parseEventLog(alone).banks.sha256 ?? {};
    assert.deepEqual(
      problems(alone, quoted('sha256', { ...values, 14: values[14] ?? '00'.repeat(32) }), other),
      [
        ['bank_mismatch', null],
        ['log_incomplete', null],
      ],
    );
  });

  it('is not judged on what IMA and user space extend', () =>
    assert.deepEqual(
      problems(bytes, quoted('sha256', { 10: anything, 11: anything, 12: anything, 15: anything })),
      [],
    ));

  it('shows banks that disagree', () =>
    assert.deepEqual(problems(bytes, quoted('sha1'), quoted('sha256', { 4: anything })), [
      ['bank_mismatch', 4],
      ['log_replay_mismatch', 4],
    ]));

  it('shows an event that a quoted bank has no digest of, and none that only another bank lacks', () => {
    const kept = Buffer.from('kept');
    const hidden = Buffer.from('hidden');
    const both = ['sha1', 'sha256'] as const;
    const log = Buffer.concat([header(both), event(4, 5, kept, both), event(4, 5, hidden, ['sha256'])]);
    const replayed = parseEventLog(log).banks;
    const one = (bank: PcrBank): PcrValues => {
      const zero = '00'.repeat(bankBytes[bank]);
      const values = Array.from({ length: 24 }, (_, pcr) => replayed[bank]?.[pcr] ?? zero);
      return { bank, mask: 0xffffff, values: Buffer.from(values.join(''), 'hex') };
    };
    const found = (...quotes: readonly PcrValues[]) =>
      replayBoot(hashPart(log), quotes)
        .problems.filter(({ code }) => code === 'bank_mismatch')
        .map(({ pcr, event }) => [pcr, event]);
    assert.deepEqual(found(one('sha1'), one('sha256')), [[4, 2]]);
    assert.deepEqual(found(one('sha256')), []);
  });

  it('cannot help a bank that the firmware never extended', () => {
    const zeros = { ...quoted('sha384'), values: Buffer.alloc(24 * 48) };
    assert.deepEqual(problems(bytes, quoted('sha256'), zeros), [['bank_unextended', null]]);
    assert.deepEqual(
      checkBankExtended([zeros]).map(({ code }) => code),
      ['bank_unextended'],
    );
    assert.deepEqual(checkBankExtended([quoted('sha256')]), []);
  });

  it('is found by the quoted PCRs alone, where not all are quoted', () => {
    const value = Buffer.from(banks.sha256?.[7] ?? '', 'hex');
    const bank = { bank: 'sha256', mask: 1 << 7, values: value } as const;
    assert.deepEqual(problems(bytes, bank), []);
  });
});
