import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { asTheLogSays, bootState } from '../../../../attest-server/verify/boot/derive-boot-state.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import type { PcrBank } from '../../../../attest-server/wire/messages.ts';
import { Rejection } from '../../../../attest-server/wire/rejection.ts';
import { rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import {
  event,
  extended,
  header,
  locality,
  noAction,
  separator,
  sha1Event,
  u16,
  u32,
} from './log-builder.ts';

const banks: readonly PcrBank[] = ['sha1', 'sha256'];
const one = Buffer.from('one');
const two = Buffer.from('two');
const codes = (log: Buffer) => parseEventLog(log).notes.map(({ code }) => code);

function refused(log: Buffer, field: string, offset?: number, code = 'malformed'): void {
  assert.throws(
    () => parseEventLog(log),
    (error) => {
      assert.ok(error instanceof Rejection);
      assert.equal(error.code, code);
      assert.equal(error.field, field);
      if (offset !== undefined) assert.equal(error.offset, offset);
      return true;
    },
  );
}

describe('an event log', () => {
  it('is replayed in every bank that the header declares', () => {
    const log = parseEventLog(
      Buffer.concat([
        header(banks),
        event(4, 5, one, banks),
        event(4, 5, two, banks),
        event(7, 5, one, banks),
      ]),
    );
    assert.equal(log.format, 'crypto-agile');
    assert.deepEqual(log.banks, {
      sha1: { 4: extended('sha1', 0, one, two), 7: extended('sha1', 0, one) },
      sha256: { 4: extended('sha256', 0, one, two), 7: extended('sha256', 0, one) },
    });
    assert.deepEqual(
      log.events.map(({ verified }) => verified),
      [false, true, true, true],
    );
  });

  it('of the SHA-1 format may begin with any event', () => {
    const log = parseEventLog(sha1Event(2, separator, Buffer.alloc(4)));
    assert.equal(log.format, 'sha1');
    assert.deepEqual(Object.keys(log.banks.sha1 ?? {}), ['2']);
  });

  for (const value of [0, 3, 4])
    it(`starts PCR 0 from startup locality ${value}`, () => {
      const log = parseEventLog(
        Buffer.concat([header(banks), locality(value, banks), event(0, 8, one, banks)]),
      );
      assert.equal(log.startupLocality, value);
      assert.equal(log.banks.sha256?.[0], extended('sha256', value, one));
    });

  it('starts PCR 0 from a locality that is named before its first event, whatever was measured elsewhere before', () => {
    const other = event(7, 4, Buffer.alloc(4), banks);
    const log = parseEventLog(
      Buffer.concat([header(banks), other, locality(3, banks), event(0, 8, one, banks)]),
    );
    assert.equal(log.banks.sha256?.[0], extended('sha256', 3, one));
    assert.deepEqual(log.notes, []);
  });

  it('starts PCR 0 from a locality behind which firmware has filled its event with zeros', () => {
    const filled = (rest: Buffer) => {
      const data = Buffer.concat([Buffer.from('StartupLocality\0\x03'), rest]);
      return parseEventLog(
        Buffer.concat([header(banks), event(0, noAction, data, banks), event(0, 8, one, banks)]),
      );
    };
    const log = filled(Buffer.alloc(33));
    assert.equal(log.banks.sha256?.[0], extended('sha256', 3, one));
    assert.equal(log.events[1]?.describes, 'StartupLocality 3');
    assert.equal(filled(Buffer.from('more')).startupLocality, null);
  });

  it('starts PCR 0 from 4 after an H-CRTM event', () => {
    const log = parseEventLog(Buffer.concat([header(banks), event(0, 0x80000010, one, banks)]));
    assert.equal(log.startupLocality, null);
    assert.equal(log.banks.sha256?.[0], extended('sha256', 4, one));
  });

  it('ignores a startup locality injected after the first event of PCR 0, a second one, and one that cannot be', () => {
    const late = Buffer.concat([header(banks), event(0, 8, one, banks), locality(3, banks)]);
    const doubled = Buffer.concat([
      header(banks),
      locality(3, banks),
      locality(4, banks),
      event(0, 8, one, banks),
    ]);
    const absurd = Buffer.concat([header(banks), locality(7, banks), event(0, 8, one, banks)]);
    assert.equal(parseEventLog(late).banks.sha256?.[0], extended('sha256', 0, one));
    assert.equal(parseEventLog(doubled).banks.sha256?.[0], extended('sha256', 3, one));
    assert.equal(parseEventLog(absurd).banks.sha256?.[0], extended('sha256', 0, one));
    for (const log of [late, doubled, absurd]) assert.deepEqual(codes(log), ['locality_ignored']);
  });

  it('never extends EV_NO_ACTION, nor PCR 0xFFFFFFFF', () => {
    const log = Buffer.concat([
      header(banks),
      event(4, noAction, one, banks),
      event(0xffffffff, 5, one, banks),
    ]);
    assert.deepEqual(parseEventLog(log).banks, { sha1: {}, sha256: {} });
    assert.equal(parseEventLog(log).events[2]?.pcr, 4294967295);
    assert.deepEqual(codes(log), ['not_extended']);
  });

  it('may begin with a header of another PCR, as confidential guests write it', () => {
    const log = Buffer.concat([header(['sha384'], Buffer.alloc(0), 1), event(1, 5, one, ['sha384'])]);
    assert.equal(parseEventLog(log).banks.sha384?.[1], extended('sha384', 0, one));
  });

  it('notes an event with fewer digests than declared, and extends the banks that it carries', () => {
    const log = Buffer.concat([header(banks), event(4, 5, one, banks), event(4, 5, two, ['sha256'])]);
    assert.deepEqual(codes(log), ['fewer_digests']);
    assert.equal(parseEventLog(log).banks.sha1?.[4], extended('sha1', 0, one));
    assert.equal(parseEventLog(log).banks.sha256?.[4], extended('sha256', 0, one, two));
  });

  it('passes over digests of an algorithm that we do not know', () => {
    const spec = Buffer.from(header(['sha256']));
    const sha3 = Buffer.concat([spec.subarray(0, spec.length - 5), u16(0x27), u16(32), Buffer.of(0)]);
    const both = Buffer.concat([u32(4), u32(5), u32(1), u16(0x27), Buffer.alloc(32), u32(3), one]);
    const log = Buffer.concat([sha3, both]);
    assert.deepEqual(parseEventLog(log).events[1]?.digests, {});
    assert.deepEqual(codes(log), ['unknown_bank']);
  });

  it('is replayed in a bank of SM3', () => {
    const log = Buffer.concat([header(['sm3_256']), event(4, 5, one, ['sm3_256'])]);
    assert.deepEqual(parseEventLog(log).banks, { sm3_256: { 4: extended('sm3_256', 0, one) } });
    assert.equal(parseEventLog(log).events[1]?.verified, true);
  });

  it('notes a digest of a known algorithm that the header does not declare, and replays the others', () => {
    const log = Buffer.concat([
      header(['sha256']),
      event(4, 5, one, ['sha256', 'sha384']),
      event(4, 5, two, ['sha256']),
    ]);
    assert.deepEqual(parseEventLog(log).banks, { sha256: { 4: extended('sha256', 0, one, two) } });
    assert.deepEqual(codes(log), ['undeclared_bank']);
  });

  it('is without an event that has no digest but undeclared ones: it extends nothing', () => {
    const log = Buffer.concat([header(banks), event(4, 5, one, banks), event(4, 5, two, ['sha384'])]);
    const parsed = parseEventLog(log);
    assert.deepEqual(parsed.banks.sha256, { 4: extended('sha256', 0, one) });
    assert.deepEqual(codes(log), ['undeclared_bank']);
    assert.deepEqual(
      bootState(parsed, asTheLogSays(parsed)).components.map(({ event: at }) => at),
      [1],
    );
  });

  it('keeps a type that it does not know as a number', () => {
    const log = Buffer.concat([header(banks), event(4, 0x40e, one, banks)]);
    assert.equal(parseEventLog(log).events[1]?.type, '0x0000040E');
  });

  for (const value of [0x00, 0xff])
    it(`names padding of 0x${value.toString(16).padStart(2, '0')} at its end`, () => {
      const log = Buffer.concat([header(banks), event(4, 5, one, banks), Buffer.alloc(5000, value)]);
      assert.deepEqual(codes(log), ['padding']);
      assert.equal(parseEventLog(log).events.length, 2);
    });

  it('escapes what controls a terminal, and cuts what is long', () => {
    const evil = Buffer.from('grub_cmd: echo \u001b[31m\n\u202eok');
    const long = Buffer.from('x'.repeat(5000));
    const log = parseEventLog(
      Buffer.concat([header(banks), event(8, 13, evil, banks), event(8, 13, long, banks)]),
    );
    assert.equal(log.events[1]?.describes, 'grub_cmd: echo \\x1b[31m\\x0a\\u{202e}ok');
    assert.equal(log.events[2]?.describes.length, 200);
  });

  const good = Buffer.concat([header(banks), event(4, 5, one, banks)]);
  const at = header(banks).length;
  const patched = (offset: number, value: number) => {
    const log = Buffer.from(good);
    log.writeUInt32LE(value, offset);
    return log;
  };
  const bad: readonly (readonly [string, Buffer, string, number | undefined])[] = [
    ['no bytes at all', Buffer.alloc(0), 'pcrIndex', 0],
    ['text', Buffer.from('bogus\ninvalid\nevent\nlog\nfile\nhere\n'), 'pcrIndex', 0],
    ['a log in base64', Buffer.from(good.toString('base64')), 'pcrIndex', 0],
    ['an event cut off', good.subarray(0, good.length - 1), 'eventSize', good.length - 7],
    ['a PCR that does not exist', patched(at, 32), 'pcrIndex', at],
    ['a count of digests that lies', patched(at + 8, 0xffffffff), 'digests.count', at + 8],
    ['a size that lies', patched(good.length - 7, 0xffffffff), 'eventSize', good.length - 7],
    [
      'a count of algorithms that lies',
      patched(32 + 24, 0x7fffffff),
      'specId.digestSizes.algorithmId',
      undefined,
    ],
    ['a digest of the wrong size', patched(32 + 28, 0x00210004), 'specId.digestSizes', 32 + 28],
    ['an algorithm twice', Buffer.concat([header(['sha1', 'sha1'])]), 'specId.digestSizes', 32 + 32],
    ['no algorithm', header([]), 'specId.numberOfAlgorithms', undefined],
    [
      'a digest twice',
      Buffer.concat([header(banks), event(4, 5, one, ['sha1', 'sha1'])]),
      'digests.hashAlg',
      undefined,
    ],
    [
      'a digest undeclared, of an algorithm that nobody knows',
      Buffer.concat([header(banks), u32(4), u32(5), u32(1), u16(0x99), Buffer.alloc(32), u32(3), one]),
      'digests.hashAlg',
      undefined,
    ],
    [
      'an undeclared digest twice',
      Buffer.concat([header(banks), event(4, 5, one, ['sha512', 'sha512'])]),
      'digests.hashAlg',
      undefined,
    ],
  ];
  for (const [what, log, field, offset] of bad)
    it(`is refused with ${what}`, () => refused(log, field, offset));

  it('of more than 2 MB is refused', () =>
    refused(Buffer.alloc(3 * 1024 * 1024), 'log', undefined, 'too_large'));

  it('tells the stage of what GRUB, the stub and shim measured', () => {
    const stages = new Map(
      parseEventLog(recordedLog('debian13-shim-grub')).events.map(({ index, stage }) => [index, stage]),
    );
    const expected = {
      4: 'secureboot',
      28: 'secureboot',
      27: 'loader',
      33: 'loader',
      34: 'loader',
      36: 'loader',
    };
    const after = {
      38: 'cmdline',
      39: 'kernel',
      40: 'kernel',
      41: 'cmdline',
      43: 'initrd',
      45: 'cmdline',
      46: 'initrd',
    };
    for (const [index, stage] of Object.entries({ ...expected, ...after }))
      assert.equal(stages.get(Number(index)), stage);
  });

  it('takes a loader without shim for a loader, though only its kernel’s stub speaks after it', () => {
    const log = recordedLog('debian13-shim-grub');
    const kernel = parseEventLog(log).events.find(({ pcr, stage }) => pcr === 4 && stage === 'kernel');
    const { events } = parseEventLog(rewriteLog(log, new Map([[kernel?.index ?? 0, 'drop']])));
    const images = events.filter(({ type }) => type === 'EV_EFI_BOOT_SERVICES_APPLICATION');
    assert.deepEqual(
      images.map(({ stage }) => stage),
      ['loader', 'loader'],
    );
  });

  it('tells the stage of a unified kernel image and its sections', () => {
    const log = parseEventLog(recordedLog('debian13-sdboot-uki'));
    const expected = { 27: 'loader', 29: 'kernel', 31: 'kernel', 35: 'cmdline', 37: 'initrd', 42: 'kernel' };
    for (const [index, stage] of Object.entries(expected))
      assert.equal(log.events[Number(index)]?.stage, stage);
  });
});
