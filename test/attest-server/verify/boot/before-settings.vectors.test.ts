import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { edited, eventWhere, insertBefore, remeasured, retyped } from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, verdictOn } from '../../policy/made-proof.ts';
import {
  type MadeEvent,
  madeState,
  notesOf,
  problemsOf,
  secureBoot,
  separatorOf,
  variable,
} from './made-boot.ts';

const [flags, config] = [0x0a, 0x80000001];
const words = Buffer.from('Boot Guard Measured S-CRTM\0', 'utf16le');
const setting = (name: string): MadeEvent => ({
  pcr: 7,
  type: config,
  data: variable(name, Buffer.alloc(0)),
});
const settings = [secureBoot(1), ...['PK', 'KEK', 'db', 'dbx'].map(setting)];
/** Who vouched for the firmware, as Boot Guard measures it: the log has words in the place of keys. */
const guard = (type: number): MadeEvent => ({ pcr: 7, type, data: words, measured: Buffer.from('keys') });
const stateOf = (...events: readonly MadeEvent[]) => madeState([...events, separatorOf(7)]);

describe('what Boot Guard measures into PCR 7 before the firmware does', () => {
  for (const type of [flags, config])
    it(`is noted, and hides no setting: type ${type.toString(16)}`, () => {
      const state = stateOf(guard(type), ...settings);
      assert.deepEqual([problemsOf(state), notesOf(state)], [[], [['before_settings', 1]]]);
      assert.equal(state.secureBoot.enabled, true);
      assert.equal(state.secureBoot.databases.length, 4);
    });

  it('is captured, and compared by its digest', () => {
    const plain = recordedLog('poweredge-version');
    const { index } = eventWhere(plain, ({ describes }) => describes.startsWith('SecureBoot'));
    const log = insertBefore(plain, index, { ...guard(flags), measured: Buffer.from('keys') });
    const reference = capturedFrom(madeProof({ log }));
    const judged = (of: Buffer) => {
      const policy = policyOf('require: [identity, boot]');
      const proven = madeProof({ log: of, values: replayedValues(of, 'sha256') });
      const { state, reasons } = verdictOn(proven, policy, { name: 'n' }, [reference], 0);
      return [state, ...reasons.map(({ code }) => code)].join(' ');
    };
    assert.equal(judged(log), 'trusted');
    assert.match(
      judged(remeasured(log, index, words, Buffer.from('other keys'))),
      /^untrusted secureboot_policy/,
    );
    assert.match(judged(plain), /^untrusted secureboot_policy/);
  });
});

describe('an event of PCR 7 that hides what it measured (row 221)', () => {
  const hidden = (one: MadeEvent): MadeEvent => ({ ...guard(flags), measured: one.data });
  const others: Readonly<Record<string, readonly MadeEvent[]>> = {
    'is not the first': [secureBoot(1), guard(flags), ...settings.slice(1)],
    'is the second of two': [guard(flags), guard(config), ...settings],
    'is SecureBoot': [hidden(secureBoot(0)), ...settings.slice(1)],
    'is the platform key': [secureBoot(1), hidden(setting('PK')), ...settings.slice(2)],
    'is db, which the firmware measures first': [hidden(setting('db')), ...settings.toSpliced(3, 1)],
    'stands before keys that come before SecureBoot': [
      guard(flags),
      setting('db'),
      ...settings.toSpliced(3, 1),
    ],
  };
  for (const [what, events] of Object.entries(others))
    it(`is no note where it ${what}`, () => {
      const codes = stateOf(...events).problems.map(({ code }) => code);
      assert.ok(codes.includes('unverified_event') || codes.includes('event_data_mismatch'), codes.join());
    });

  it('stays a fault in the log of a machine without such a measurement', () => {
    const log = recordedLog('poweredge-version');
    const { index } = eventWhere(log, ({ describes }) => describes.startsWith('SecureBoot'));
    const values = replayedValues(log, 'sha256');
    for (const other of [retyped(log, index, flags), edited(log, index, words)]) {
      const problems = madeProof({ log: other, values }).boot?.problems ?? [];
      assert.ok(problems.some(({ event }) => event === index));
    }
  });
});
