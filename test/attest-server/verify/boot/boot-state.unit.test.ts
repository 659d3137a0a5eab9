import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { asTheLogSays, bootState } from '../../../../attest-server/verify/boot/derive-boot-state.ts';
import { certificateList, digestList } from '../../../../attest-server/verify/boot/signature-list.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { tamperEvent } from '../../../../swtpm-fixtures/tamper.ts';
import { madeAuthority, signer } from '../made-certificate.ts';
import {
  action,
  grub,
  type MadeEvent,
  madeLog,
  madeState,
  problemsOf,
  secureBoot,
  separatorOf,
  separators,
  shimGuid,
  types,
  variable,
  version,
} from './made-boot.ts';

/** Version, Secure Boot on, the separators: events 1, 2, 3 and 4 to 10. */
const firmware: readonly MadeEvent[] = [version, secureBoot(1), separatorOf(7), ...separators];
const shimLock = Buffer.from(shimGuid, 'hex');
const vendor = madeAuthority(signer('Vendor CA'));

function altered(
  events: readonly MadeEvent[],
  at: number,
  change: Parameters<typeof tamperEvent>[2],
): ReturnType<typeof bootState> {
  const log = parseEventLog(tamperEvent(madeLog(events), at, change));
  return bootState(log, asTheLogSays(log));
}

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

describe('authorities and machine owner keys', () => {
  const authority = (name: string, value: Buffer, guid?: string): MadeEvent => ({
    ...{ pcr: 7, type: types.authority, data: variable(name, value, guid) },
  });
  const shim = (name: string, measured: Buffer): MadeEvent => ({
    ...{ pcr: 14, type: types.ipl, data: Buffer.from(`${name}\0`), measured },
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

  it('are out of place before the separator, as configuration is after it (row 34)', () => {
    const db = { pcr: 7, type: types.config, data: variable('db', Buffer.alloc(0)) };
    assert.deepEqual(problemsOf(madeState([...firmware, db])), [['unverified_event', 11]]);
    const early = firmware.toSpliced(1, 0, authority('db', Buffer.alloc(0)));
    assert.deepEqual(problemsOf(madeState(early)), [['unverified_event', 2]]);
  });
});

describe('what loaders measured', () => {
  const left = action(5, 'Exit Boot Services Returned with Success');
  const line: MadeEvent = {
    pcr: 8,
    type: types.ipl,
    data: Buffer.from('kernel_cmdline: /vmlinuz root=/dev/vda ro\0'),
    measured: Buffer.from('/vmlinuz root=/dev/vda ro'),
  };
  const wide: MadeEvent = { pcr: 12, type: types.ipl, data: Buffer.from('quiet splash\0', 'utf16le') };
  const lines = (...events: readonly MadeEvent[]) =>
    madeState([...firmware, ...events]).commandLines.map(({ text }) => text);

  it('is each command line once, of GRUB and of systemd-boot', () =>
    assert.deepEqual(lines(grub('set a=b'), grub('linux /vmlinuz root=/dev/vda ro'), line, wide), [
      'root=/dev/vda ro',
      'quiet splash',
    ]));

  it('is a line of which systemd-boot logged a byte less than it measured', () => {
    const measured = Buffer.from('quiet\0', 'utf16le');
    assert.deepEqual(lines({ ...wide, pcr: 8, data: measured.subarray(0, -1), measured }), ['quiet']);
  });

  it('is the line of a boot option of the firmware’s, where the kernel measured it', () => {
    const options = Buffer.from('root=/dev/vda quiet\0', 'utf16le');
    const head = Buffer.from('01000000040041000000040000007fff', 'hex').subarray(0, 10);
    const value = Buffer.concat([head, Buffer.from('7fff0400', 'hex'), options]);
    const option = { pcr: 1, type: types.bootVariable, data: variable('Boot0001', value), measured: value };
    const name = Buffer.from('LOADED_IMAGE::LoadOptions\0');
    const tag = Buffer.concat([Buffer.from('ed223b8f1a000000', 'hex'), name]);
    const stub = { pcr: 9, type: types.tag, data: tag, measured: options };
    assert.deepEqual(lines(option, stub), ['root=/dev/vda quiet']);
    assert.deepEqual(lines(option, { ...stub, measured: Buffer.from('another') }), []);
    const { components } = madeState([...firmware, option, stub]);
    assert.deepEqual([components.at(-1)?.kind, components.at(-1)?.text], ['cmdline', 'root=/dev/vda quiet']);
  });

  it('is no line whose digest is of something else, and that is told (row 35)', () => {
    const state = madeState([...firmware, { ...line, measured: Buffer.from('/vmlinuz init=/bin/sh') }]);
    assert.deepEqual(state.commandLines, []);
    assert.deepEqual(problemsOf(state), [['event_data_mismatch', 11]]);
  });

  it('is nothing that was extended after the firmware had left (row 44)', () => {
    const state = madeState([...firmware, line, left, grub('linux /vmlinuz quiet'), { ...wide, pcr: 14 }]);
    assert.deepEqual(
      state.commandLines.map(({ text }) => text),
      ['root=/dev/vda ro'],
    );
    assert.deepEqual(problemsOf(state), [
      ['unverified_event', 13],
      ['unverified_event', 14],
    ]);
    assert.deepEqual(
      state.components.slice(-2).map(({ kind, text }) => [kind, text]),
      [
        ['other', null],
        ['other', null],
      ],
    );
  });

  it('is a command whatever type it was given, and that is told (row 34)', () => {
    const state = altered([...firmware, line], 11, { type: types.action });
    assert.equal(state.commandLines.length, 1);
    assert.deepEqual(problemsOf(state), [['unverified_event', 11]]);
  });

  it('is told where the image of PCR 4 was given another type, or another event its type (row 34)', () => {
    const image = { pcr: 4, type: types.application, data: Buffer.alloc(32), measured: Buffer.from('PE') };
    assert.deepEqual(problemsOf(madeState([...firmware, image])), []);
    for (const type of [types.action, types.ipl])
      assert.deepEqual(problemsOf(altered([...firmware, image], 11, { type })), [['unverified_event', 11]]);
    const called = action(4, 'Calling EFI Application from Boot Option');
    assert.deepEqual(problemsOf(altered([...firmware, called], 11, { type: types.application })), [
      ['unverified_event', 11],
    ]);
  });

  it('is text only as far as its digest proves it', () => {
    const file = { pcr: 9, type: types.ipl, data: Buffer.from('/vmlinuz\0'), measured: Buffer.from('ELF') };
    const configuration = { ...file, data: Buffer.from('(hd0)/grub/grub.cfg\0') };
    const { components } = madeState([...firmware, grub('set a=b'), file, configuration]);
    assert.deepEqual(
      components.slice(-3).map(({ kind, stage, text }) => [kind, stage, text]),
      [
        ['command', 'loader', 'set a=b'],
        ['file', 'kernel', null],
        ['configuration', 'loader', null],
      ],
    );
  });

  it('is the firmware’s version, where it is text', () => {
    assert.deepEqual(madeState(firmware).firmwareVersion, { event: 1, text: '1.0' });
    const guid = { ...version, data: Buffer.alloc(16, 0xa1) };
    assert.equal(madeState(firmware.with(0, guid)).firmwareVersion, null);
  });
});
