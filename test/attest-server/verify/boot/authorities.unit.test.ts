import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { certificateList, digestList } from '../../../../attest-server/verify/tpm/signature-list.ts';
import { madeAuthority, signer } from '../made-certificate.ts';
import {
  altered,
  firmware,
  type MadeEvent,
  madeState,
  problemsOf,
  shimGuid,
  types,
  variable,
} from './made-boot.ts';

const shimLock = Buffer.from(shimGuid, 'hex');
const vendor = madeAuthority(signer('Vendor CA'));

describe('authorities and machine owner keys', () => {
  const authority = (name: string, value: Buffer, guid?: string): MadeEvent => ({
    pcr: 7,
    type: types.authority,
    data: variable(name, value, guid),
  });
  const shim = (name: string, measured: Buffer): MadeEvent => ({
    pcr: 14,
    type: types.ipl,
    data: Buffer.from(`${name}\0`),
    measured,
  });

  it('are certificates with or without an owner, and digests', () => {
    const { authorities } = madeState([
      ...firmware,
      authority('db', Buffer.concat([shimLock, vendor])),
      authority('Shim', vendor, shimGuid),
      authority('db', Buffer.concat([shimLock, Buffer.alloc(32, 0xab)])),
      authority('db', Buffer.from('neither')),
    ]).secureBoot;
    assert.deepEqual(
      authorities.map(({ event, source, kind, subject }) => [event, source, kind, subject]),
      [
        [11, 'db', 'certificate', 'CN=Vendor CA'],
        [12, 'Shim', 'certificate', 'CN=Vendor CA'],
        [13, 'db', 'digest', null],
        [14, 'db', 'other', null],
      ],
    );
  });

  it('are found in events with a byte too many, as old shims log them', () => {
    const { data } = authority('Shim', vendor, shimGuid);
    const measured = Buffer.concat([data, Buffer.alloc(5)]);
    const logged = Buffer.concat([measured, Buffer.of(0xaf)]);
    const state = madeState([...firmware, { pcr: 7, type: types.authority, data: logged, measured }]);
    assert.deepEqual(
      state.secureBoot.authorities.map(({ subject }) => subject),
      ['CN=Vendor CA'],
    );
    assert.deepEqual(problemsOf(state), []);
  });

  it('tell the keys that shim comes with from those that somebody enrolled', () => {
    const foreign = madeAuthority(signer('Somebody'));
    const { machineOwner } = madeState([
      ...firmware,
      shim('MokList', certificateList(shimLock, vendor)),
      shim('MokList', certificateList(shimLock, foreign)),
      shim('MokListX', digestList(shimLock, Buffer.alloc(32))),
      shim('MokListTrusted', Buffer.of(1)),
      authority('Shim', vendor, shimGuid),
    ]).secureBoot;
    assert.deepEqual(
      machineOwner.map(({ name, content, entries }) => [name, content, entries[0]?.subject]),
      [
        ['MokList', 'vendor', 'CN=Vendor CA'],
        ['MokList', 'unknown', undefined],
        ['MokListX', 'empty', undefined],
        ['MokListTrusted', 'on', undefined],
      ],
    );
  });

  it('tell that shim checks nothing, by PCR 14 or by PCR 7 (row 40)', () => {
    const off = (event: MadeEvent) => madeState([...firmware, event]).secureBoot.validationOff;
    assert.equal(off(shim('MokSBState', Buffer.of(1))), true);
    assert.equal(off(authority('MokSBState', Buffer.of(1), shimGuid)), true);
    assert.equal(off(shim('MokListTrusted', Buffer.of(1))), false);
    assert.equal(off(authority('MokSBState', Buffer.of(0), shimGuid)), false);
  });

  it('tell the level below which shim starts nothing, the lowest where there are several', () => {
    const level = (date: string) => authority('SbatLevel', Buffer.from(`sbat,1,${date}\nshim,4\n`), shimGuid);
    const state = madeState([...firmware, level('2025021800'), level('2023012900')]);
    assert.equal(state.secureBoot.sbatLevel, 2023012900);
  });

  it('are no configuration behind the separator, nor is a database an authority before it (row 34)', () => {
    const db = { pcr: 7, type: types.config, data: variable('db', Buffer.alloc(0)) };
    assert.deepEqual(problemsOf(madeState([...firmware, db])), [['unverified_event', 11]]);
    const database = certificateList(shimLock, vendor);
    const state = madeState(firmware.toSpliced(1, 0, authority('db', database)));
    assert.deepEqual(problemsOf(state), [['unverified_event', 2]]);
    assert.deepEqual(
      state.secureBoot.databases.map(({ name, entries }) => [name, entries.length]),
      [['db', 1]],
    );
  });

  it('are told by what they are, whatever type the log gives them (row 34)', () => {
    for (const [guid, codes] of [
      [shimGuid, []],
      [undefined, ['unverified_event']],
    ] as const) {
      const state = altered([...firmware, authority('MokList', vendor, guid)], 11, { type: types.config });
      assert.deepEqual(
        state.secureBoot.authorities.map(({ subject }) => subject),
        ['CN=Vendor CA'],
      );
      assert.deepEqual(
        state.problems.map(({ code }) => code),
        codes,
      );
    }
  });

  it('may stand before the separator, where firmware checks its own drivers', () => {
    const early = authority('db', Buffer.concat([shimLock, vendor]));
    const state = madeState(firmware.toSpliced(2, 0, early));
    assert.equal(state.secureBoot.authorities.length, 1);
    assert.deepEqual(problemsOf(state), []);
  });
});
