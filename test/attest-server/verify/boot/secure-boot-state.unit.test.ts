import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { bootState } from '../../../../attest-server/verify/boot/derive-boot-state.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { tamperEvent } from '../../../../swtpm-fixtures/tamper.ts';
import {
  altered,
  firmware,
  madeLog,
  madeState,
  problemsOf,
  secureBoot,
  types,
  variable,
} from './made-boot.ts';

describe('Secure Boot', () => {
  const states: readonly (readonly [string, Buffer, boolean | null])[] = [
    ['on', Buffer.of(1), true],
    ['off', Buffer.of(0), false],
    ['off where the firmware has no such variable', Buffer.alloc(0), false],
    ['unknown for any other value', Buffer.of(2), null],
  ];
  for (const [what, value, enabled] of states)
    it(`is ${what}`, () => {
      const event = { ...secureBoot(1), data: variable('SecureBoot', value) };
      assert.equal(madeState(firmware.with(1, event)).secureBoot.enabled, enabled);
    });

  it('is what stands before the separator, and ambiguous where another one follows (row 39)', () => {
    const { secureBoot: found, problems } = madeState([...firmware.with(1, secureBoot(0)), secureBoot(1)]);
    assert.deepEqual([found.enabled, found.event], [false, 2]);
    assert.deepEqual(problemsOf({ ...madeState([]), problems }), [['secureboot_ambiguous', 11]]);
  });

  it('is unknown where two that differ stand before the separator (row 39)', () => {
    const state = madeState(firmware.toSpliced(1, 0, secureBoot(0)));
    assert.equal(state.secureBoot.enabled, null);
    assert.deepEqual(problemsOf(state), [['secureboot_ambiguous', 3]]);
  });

  it('is unknown where the log was edited, its digest kept (row 35)', () => {
    const state = altered(firmware, 2, { data: variable('SecureBoot', Buffer.of(0)) });
    assert.equal(state.secureBoot.enabled, null);
    assert.deepEqual(problemsOf(state), [['event_data_mismatch', 2]]);
  });

  for (const type of [types.authority, types.action, types.ipl])
    it(`is still known where its event was given type 0x${type.toString(16)}, and that is told (row 34)`, () => {
      const state = altered(firmware, 2, { type });
      assert.equal(state.secureBoot.enabled, true);
      assert.deepEqual(problemsOf(state), [['unverified_event', 2]]);
    });

  it('is unknown where only its value was measured: the name could be any', () => {
    const event = { ...secureBoot(1), measured: Buffer.of(1) };
    assert.equal(madeState(firmware.with(1, event)).secureBoot.enabled, null);
  });

  it('is unknown where no variable was measured with its name, and that is noted', () => {
    const values = ['SecureBoot', 'PK', 'db'].map((name, i) => ({
      ...secureBoot(1),
      data: variable(name, Buffer.of(i, i)),
      measured: Buffer.of(i, i),
    }));
    const state = madeState(firmware.toSpliced(1, 1, ...values));
    assert.deepEqual([state.secureBoot.enabled, state.secureBoot.databases], [null, []]);
    assert.deepEqual(problemsOf(state), []);
    assert.deepEqual(
      state.notes.map(({ code }) => code),
      ['value_alone', 'value_alone', 'value_alone'],
    );
  });

  it('leaves no variable unseen that is made the value of another one (row 138)', () => {
    const db = variable('db', Buffer.from('a foreign key'));
    const hidden = { ...secureBoot(1), data: variable('Unused', db), measured: db };
    const state = madeState(firmware.toSpliced(2, 0, hidden));
    assert.equal(state.secureBoot.enabled, true);
    assert.deepEqual(problemsOf(state), [['unverified_event', 3]]);
  });

  it('is unknown where PCR 7 does not replay, or the separator is missing', () => {
    const log = parseEventLog(madeLog(firmware));
    assert.equal(bootState(log, { banks: ['sha256'], pcrs: 0xff7f }).secureBoot.enabled, null);
    assert.equal(madeState(firmware.toSpliced(2, 1)).secureBoot.enabled, null);
  });

  it('must be measured alike in every bank that is quoted', () => {
    const log = parseEventLog(tamperEvent(madeLog(firmware), 2, { digest: { sha1: '00'.repeat(20) } }));
    assert.equal(bootState(log, { banks: ['sha256'], pcrs: 0xffff }).secureBoot.enabled, true);
    assert.equal(bootState(log, { banks: ['sha1', 'sha256'], pcrs: 0xffff }).secureBoot.enabled, null);
  });
});
