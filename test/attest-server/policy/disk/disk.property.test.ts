import assert from 'node:assert/strict';
import fc from 'fast-check';
import { before, describe, it } from 'mocha';
import { parseTarget } from '../../../../attest-server/policy/disk/crypt-target.ts';
import { luksVolume } from '../../../../attest-server/policy/disk/luks-metadata.ts';
import { type DiskPart, parseDiskPart } from '../../../../attest-server/wire/disk.ts';
import { mountFinder, parseMountTable } from '../../../../attest-server/wire/mount-table.ts';
import { overlayLayers } from '../../../../attest-server/wire/protected-mounts.ts';
import { Rejection } from '../../../../attest-server/wire/rejection.ts';
import { trials } from '../../../trials.ts';
import { inspectedOf, judged, recordedPart } from './made-disk.ts';

describe('what a node says of its disks, whatever it is', () => {
  let parts: readonly DiskPart[];
  before(async () => {
    parts = await Promise.all(
      ['01-luks2', '05-lvm-on-luks2', '10-overlay-upper-plain', '11-luks2-in-loop-file', '04-luks1'].map(
        recordedPart,
      ),
    );
  });

  it('gives findings for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const { affirmed, findings } = judged(Buffer.from(bytes));
        assert.ok(!affirmed && findings.length > 0);
      }),
    );
  });

  it('gives a judgement for parts with anything exchanged, and never affirms without a LUKS mapping', () => {
    fc.assert(
      fc.property(
        fc.nat(4),
        fc.array(fc.tuple(fc.nat(20_000), fc.nat(20_000), fc.string({ maxLength: 12 })), { maxLength: 4 }),
        (which, changes) => {
          let text = JSON.stringify(parts[which]);
          for (const [at, length, put] of changes) {
            const from = at % text.length;
            text = `${text.slice(0, from)}${put}${text.slice(from + (length % 24))}`;
          }
          const { affirmed } = judged(Buffer.from(text));
          if (affirmed) assert.match(text, /CRYPT-LUKS/i);
        },
      ),
      { numRuns: trials(200) },
    );
  });

  it('gives a judgement for lines of tables and members put elsewhere', () => {
    const lines = fc.array(
      fc.constantFrom(
        '0 9 crypt aes-xts-plain64 :64:logon:x 0 254:48 0',
        '0 9 crypt cipher_null-ecb - 0 254:48 0',
        '0 9 linear 254:48 0',
        '0 9 crypt',
        '',
        'crypt crypt crypt',
      ),
      { maxLength: 3 },
    );
    const devices = fc.constantFrom('253:0', '253:1', '254:48', '254:0', '7:0', '0:29', '9:9');
    fc.assert(
      fc.property(
        fc.nat(4),
        lines,
        fc.array(devices, { maxLength: 4 }),
        devices,
        (which, table, slaves, of) => {
          const part = parts[which] ?? assert.fail();
          const changed = part.devices.map((device) =>
            device.device === of
              ? { ...device, slaves, mapping: { name: 'm', uuid: `CRYPT-LUKS2-${'a'.repeat(32)}-m`, table } }
              : device,
          );
          const { affirmed, findings } = judged({ ...part, devices: changed });
          assert.ok(affirmed || findings.length > 0);
        },
      ),
      { numRuns: trials(50) },
    );
  });

  it('gives a volume or a fault for any metadata', () => {
    fc.assert(
      fc.property(fc.json(), fc.nat(4_000), fc.string(), (json, at, put) => {
        const [header] = inspectedOf(parts[0] ?? assert.fail()).headers;
        assert.ok(header !== undefined);
        const text = header.metadata ?? '';
        for (const metadata of [json, `${text.slice(0, at)}${put}${text.slice(at)}`])
          assert.ok(
            'uuid' in luksVolume({ ...header, metadata }) || 'fault' in luksVolume({ ...header, metadata }),
          );
      }),
    );
  });

  it('gives a target or null for any line, and layers or null for any options', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (line, options) => {
        parseTarget(line);
        parseTarget(`0 1 crypt ${line}`);
        for (const superOptions of [
          options,
          `lowerdir=${options}`,
          `upperdir=/${options},lowerdir+=${options}`,
        ])
          for (const layer of overlayLayers({ superOptions }) ?? []) assert.ok(layer.startsWith('/'));
      }),
    );
  });

  it('gives a value or a Rejection for any bytes of a part, and finds a mount for any path of a table', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (text, path) => {
        try {
          parseDiskPart(Buffer.from(text));
        } catch (error) {
          assert.ok(error instanceof Rejection);
        }
        const find = mountFinder(parseMountTable(Buffer.from('1 0 8:0 / / rw - ext4 a rw\n')));
        try {
          assert.equal(find(`/${path}`)?.id, 1);
        } catch (error) {
          assert.ok(error instanceof RangeError);
        }
      }),
    );
  });
});
