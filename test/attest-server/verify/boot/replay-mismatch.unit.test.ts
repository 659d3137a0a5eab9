import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { hashPart } from '../../../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../../../attest-server/verify/measured-boot.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import type { PcrValues } from '../../../../attest-server/wire/pcr-values.ts';
import { rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';

const good = recordedLog('debian13-shim-grub');
const { events } = parseEventLog(good);

/** What a TPM holds after this log. */
function quoted(log: Buffer): PcrValues {
  const values = parseEventLog(log).banks.sha256 ?? {};
  const all = Array.from({ length: 24 }, (_, pcr) => values[pcr] ?? '00'.repeat(32));
  return { bank: 'sha256', mask: 0xffffff, values: Buffer.from(all.join(''), 'hex') };
}

const dropped = (log: Buffer, ...indices: readonly number[]) =>
  rewriteLog(log, new Map(indices.map((index) => [index, 'drop'])));
const faults = (log: Buffer, booted: Buffer) =>
  replayBoot(hashPart(log), [quoted(booted)])
    .problems.filter(({ code }) => code === 'log_replay_mismatch')
    .map(({ pcr, event }) => [pcr, event]);
const of = (pcr: number) => events.filter((event) => event.pcr === pcr && event.type !== 'EV_NO_ACTION');
const last = events.length - 1;

describe('a log that does not replay names the PCR and', () => {
  it('the first event that the TPM does not have, where its tail was made up', () => {
    const [first, second] = of(8).slice(-2);
    const booted = dropped(good, first?.index ?? 0, second?.index ?? 0);
    assert.deepEqual(faults(good, booted), [[8, first?.index]]);
  });

  it('the one event that the TPM does not have, where it was put into the middle', () => {
    const added = of(8)[2]?.index ?? 0;
    assert.deepEqual(faults(good, dropped(good, added)), [[8, added]]);
  });

  it('the last event of its own, where what firmware ends with was cut off (row 33)', () => {
    assert.deepEqual(faults(dropped(good, last), good), [[5, last - 1]]);
    const before = of(5).at(-3)?.index;
    assert.deepEqual(faults(dropped(good, last, last - 1), good), [[5, before]]);
  });

  it('the last event of each, where the log ends early (row 33)', () => {
    const tail = Array.from({ length: 6 }, (_, back) => last - back);
    const cut = dropped(good, ...tail);
    assert.deepEqual(
      faults(cut, good),
      [5, 8, 9].map((pcr) => [
        pcr,
        of(pcr)
          .filter(({ index }) => !tail.includes(index))
          .at(-1)?.index,
      ]),
    );
  });

  it('the first event, where one of them was changed', () => {
    const digest = { sha256: '5a'.repeat(32) };
    const changed = rewriteLog(good, new Map([[of(4).at(-1)?.index ?? 0, { digest }]]));
    assert.deepEqual(faults(changed, good), [[4, of(4)[0]?.index]]);
  });

  it('the event in PCR 0 too, whatever the startup locality', () => {
    const locality = recordedLog('fedora41-locality-3');
    const index = parseEventLog(locality).events.findLast(({ pcr }) => pcr === 0)?.index ?? 0;
    assert.deepEqual(faults(locality, dropped(locality, index)), [[0, index]]);
  });
});
