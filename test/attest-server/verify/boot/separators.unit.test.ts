import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import {
  action,
  altered,
  firmware,
  type MadeEvent,
  madeState,
  problemsOf,
  separatorOf,
  types,
} from './made-boot.ts';

describe('separators', () => {
  it('are one in each PCR of the firmware, of zeros or of ones', () => {
    assert.deepEqual(problemsOf(madeState(firmware)), []);
    const ones = firmware.map((one) =>
      one.type === types.separator ? { ...one, data: Buffer.alloc(4, 0xff) } : one,
    );
    assert.deepEqual(problemsOf(madeState(ones)), []);
  });

  const at = firmware.findIndex(({ pcr, type }) => pcr === 4 && type === types.separator);
  const others: Readonly<Record<string, readonly MadeEvent[]>> = {
    'says that the firmware failed': firmware.with(at, separatorOf(4, Buffer.of(1, 0, 0, 0))),
    'has another value': firmware.with(at, separatorOf(4, Buffer.from('abcd'))),
    'is there twice': [...firmware, separatorOf(4)],
    'is missing': [...firmware.toSpliced(at, 1), action(4, 'Calling EFI Application from Boot Option')],
    'is missing in PCR 7': firmware.filter(({ pcr, type }) => pcr !== 7 || type !== types.separator),
  };
  for (const [what, events] of Object.entries(others))
    it(`are an error where one ${what} (row 38)`, () =>
      assert.deepEqual(
        madeState(events).problems.map(({ code }) => code),
        ['separator_error'],
      ));

  it('may be missing where the firmware measures none but that of PCR 7, and in logs without PCR 0', () => {
    const none = firmware.filter(({ pcr, type }) => pcr === 7 || type !== types.separator);
    assert.deepEqual(problemsOf(madeState([...none, action(4, 'Calling EFI Application')])), []);
    assert.deepEqual(problemsOf(madeState([separatorOf(1), separatorOf(1)])), []);
  });

  it('are known by their digest, whatever the type says (row 34)', () =>
    assert.deepEqual(problemsOf(altered(firmware, 3, { type: types.action })), [['unverified_event', 3]]));

  it('are no longer what the log says where their data was altered (row 35)', () =>
    assert.deepEqual(problemsOf(altered(firmware, 3, { data: Buffer.alloc(4, 1) })), [
      ['event_data_mismatch', 3],
    ]));
});
