import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { knowingCommandLine } from '../../../../attest-server/verify/boot/derive-boot-state.ts';
import { certificateList } from '../../../../attest-server/verify/tpm/signature-list.ts';
import {
  action,
  altered,
  firmware,
  grub,
  type MadeEvent,
  madeState,
  notesOf,
  problemsOf,
  shimGuid,
  types,
  variable,
  version,
} from './made-boot.ts';

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

  it('is the line in a unified image that the node says, and no other section of it', () => {
    const section = (name: string, content: string): readonly MadeEvent[] =>
      [`${name}\0`, content].map((measured) => ({
        pcr: 11,
        type: types.ipl,
        data: Buffer.from(`${name}\0`, 'utf16le'),
        measured: Buffer.from(measured),
      }));
    const image = [...section('.osrel', 'ID=debian'), ...section('.cmdline', 'quiet\n')];
    const state = madeState([...firmware, ...image]);
    const known = (said: string) => knowingCommandLine(state, said).commandLines.map(({ text }) => text);
    assert.deepEqual(known('quiet'), ['quiet']);
    for (const other of ['ID=debian', '.cmdline', '.osrel', 'quiet splash'])
      assert.deepEqual(known(other), []);
  });

  it('is no line whose digest is of something else, and that is told (row 35)', () => {
    const state = madeState([...firmware, { ...line, measured: Buffer.from('/vmlinuz init=/bin/sh') }]);
    assert.deepEqual(state.commandLines, []);
    assert.deepEqual(problemsOf(state), [['event_data_mismatch', 11]]);
  });

  it('is nothing that was extended after the firmware had left (row 44)', () => {
    const list = { pcr: 14, type: types.ipl, data: Buffer.from('MokList\0'), measured: Buffer.alloc(76, 1) };
    const state = madeState([...firmware, line, left, grub('linux /vmlinuz quiet'), list]);
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

  it('may be followed by texts of the system’s own in PCR 14, which are no facts', () => {
    const own = action(14, 'file:/config/server exist:true');
    const state = madeState([...firmware, line, left, own]);
    assert.deepEqual([problemsOf(state), notesOf(state)], [[], [['after_boot', 13]]]);
    assert.deepEqual([state.components.at(-1)?.stage, state.secureBoot.machineOwner], ['os', []]);
  });

  for (const [what, measured] of [
    ['a switch of shim’s', Buffer.of(1)],
    ['a list of keys', certificateList(Buffer.from(shimGuid, 'hex'), Buffer.from('CN=Somebody'))],
  ] as const)
    it(`is told of where ${what} was moved behind the end under another name (row 44)`, () => {
      for (const data of [measured, Buffer.from('file:/config/server exist:true')]) {
        const state = madeState([...firmware, line, left, { ...action(14, ''), data, measured }]);
        assert.deepEqual(problemsOf(state), [['unverified_event', 13]], data.toString());
      }
    });

  it('is where no fact rests on the data only noted, if that is not what was measured', () => {
    const elsewhere = { measured: Buffer.from('something else') };
    const events = [
      { ...version, ...elsewhere },
      { pcr: 1, type: types.bootVariable, data: variable('BootOrder', Buffer.of(1, 0)), ...elsewhere },
      { ...action(4, 'Calling EFI Application from Boot Option'), ...elsewhere },
    ];
    const state = madeState([...firmware.slice(1), ...events]);
    const at = firmware.length;
    assert.deepEqual(problemsOf(state), []);
    assert.deepEqual(notesOf(state), [
      ['other_data', at],
      ['other_data', at + 1],
      ['other_data', at + 2],
    ]);
    assert.equal(state.firmwareVersion, null);
    for (const { kind, text } of state.components.slice(-3)) assert.deepEqual([kind, text], ['other', null]);
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
