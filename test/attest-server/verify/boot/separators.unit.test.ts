import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import {
  action,
  altered,
  firmware,
  type MadeEvent,
  madeState,
  notesOf,
  problemsOf,
  secureBoot,
  separatorOf,
  separators,
  types,
  version,
} from './made-boot.ts';

const openPowerNotes = new Set(['not_a_separator', 'retyped_separator', 'other_data', 'second_separator']);

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
    'is there twice in PCR 7 alone': [...firmware, separatorOf(7)],
    'is there twice in all PCRs but one, and in PCR 7': [...firmware, ...separators.slice(1), separatorOf(7)],
    'is missing': [...firmware.toSpliced(at, 1), action(4, 'Calling EFI Application from Boot Option')],
    'is missing in PCR 7': firmware.filter(({ pcr, type }) => pcr !== 7 || type !== types.separator),
  };
  for (const [what, events] of Object.entries(others))
    it(`are an error where one ${what} (row 38)`, () =>
      assert.deepEqual(
        madeState(events).problems.map(({ code }) => code),
        ['separator_error'],
      ));

  it('may be there twice, where the firmware comes to its next boot option', () => {
    const again = madeState([...firmware, separatorOf(4)]);
    assert.deepEqual([problemsOf(again), notesOf(again)], [[], [['second_separator', 11]]]);
    const all = madeState([...firmware, ...separators, separatorOf(7)]);
    assert.deepEqual(problemsOf(all), []);
    assert.equal(all.notes.filter(({ code }) => code === 'second_separator').length, 8);
  });

  it('move no boundary where there are two: what stands between them is no setting (row 38)', () => {
    const events = [...firmware.with(1, secureBoot(0)), secureBoot(1), ...separators, separatorOf(7)];
    const state = madeState(events);
    assert.deepEqual([state.secureBoot.enabled, state.secureBoot.event], [false, 2]);
    assert.deepEqual(problemsOf(state), [['secureboot_ambiguous', 11]]);
  });

  const fit: MadeEvent = {
    pcr: 0,
    type: types.contents,
    data: Buffer.from('FIT Type 0x2D Measured S-CRTM'),
    measured: Buffer.alloc(4),
  };

  it('are in PCRs 0 to 6 what is called so: other things have their digest', () => {
    const state = madeState([fit, ...firmware]);
    assert.deepEqual([problemsOf(state), notesOf(state)], [[], [['not_a_separator', 1]]]);
    assert.equal(state.components[0]?.kind, 'code');
  });

  it('are missing where another thing has their digest instead (row 38)', () =>
    assert.deepEqual(
      madeState([
        fit,
        ...firmware.filter(({ pcr, type }) => pcr !== 0 || type !== types.separator),
      ]).problems.map(({ code }) => code),
      ['separator_error'],
    ));

  it('of ones may be actions, and bear the name of a program, as OpenPOWER’s', () => {
    const ones = Buffer.alloc(4, 0xff);
    const named = (pcr: number): MadeEvent => ({
      pcr,
      type: types.separator,
      data: Buffer.from('Skiboot Boot'),
      measured: ones,
    });
    const state = madeState([
      version,
      secureBoot(1),
      ...[0, 1, 2, 3, 4, 5, 6, 7].map((pcr) => ({ pcr, type: types.action, data: ones })),
      ...[0, 1, 2, 3, 4, 5, 6, 7].map(named),
    ]);
    assert.deepEqual(problemsOf(state), []);
    assert.deepEqual([state.secureBoot.enabled, state.secureBoot.event], [true, 2]);
    assert.deepEqual(new Set(state.notes.map(({ code }) => code)), openPowerNotes);
  });

  it('of one byte are those of old firmware', () => {
    const state = madeState(
      firmware.map((one) => (one.type === types.separator ? { ...one, data: Buffer.of(0xff) } : one)),
    );
    assert.deepEqual([problemsOf(state), notesOf(state)], [[], []]);
    assert.equal(state.secureBoot.enabled, true);
  });

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
