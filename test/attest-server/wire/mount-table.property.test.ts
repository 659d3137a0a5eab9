import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { mountOf, parseMountTable } from '../../../attest-server/wire/mount-table.ts';
import { rejectionOf } from '../verify/rejection-of.ts';

const folder = join(import.meta.dirname, '../../../swtpm-fixtures/recorded');
const recorded = readFileSync(join(folder, 'disk-10-overlay-upper-plain', 'mountinfo.txt'));
/** As the kernel writes a name into a line. */
const escaped = (bytes: Uint8Array) =>
  [...bytes]
    .map((byte) =>
      [0x09, 0x0a, 0x20, 0x23, 0x5c].includes(byte)
        ? `\\${byte.toString(8).padStart(3, '0')}`
        : String.fromCharCode(byte),
    )
    .join('');
const bytes = fc.uint8Array({ min: 1, minLength: 1, maxLength: 64 });

describe('any mount table', () => {
  it('gives mounts or a Rejection, and each path a mount or none', () => {
    const changed = fc
      .tuple(
        fc.array(fc.tuple(fc.nat(recorded.length - 1), fc.nat(255)), { maxLength: 6 }),
        fc.nat(recorded.length),
      )
      .map(([changes, cut]) => {
        const copy = Buffer.from(recorded.subarray(0, cut));
        for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
        return copy;
      });
    const lines = fc
      .array(fc.tuple(fc.nat(6), fc.nat(6), fc.constantFrom('/', '/a', '/a/b')), { maxLength: 7 })
      .map((each) =>
        Buffer.from(each.map(([id, parent, at]) => `${id} ${parent} 0:1 / ${at} rw - t x rw\n`).join('')),
      );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array().map((any) => Buffer.from(any)),
          changed,
          lines,
        ),
        (table) => {
          const rejection = rejectionOf(() => {
            const mounts = parseMountTable(table);
            for (const path of ['/', '/a', '/a/b/c', '/var/lib/docker'])
              assert(
                mountOf(mounts, path) === null || mounts.includes(mountOf(mounts, path) ?? assert.fail()),
              );
          });
          assert(rejection === null || ['malformed', 'too_large'].includes(rejection.code));
        },
      ),
    );
  });

  it('gives back each name as it was, and one mount a line (row 71)', () => {
    fc.assert(
      fc.property(bytes, bytes, (source, point) => {
        const line = `7 1 0:9 / /${escaped(point)} rw - tmpfs ${escaped(source)} rw\n`;
        const [mount, ...rest] = parseMountTable(Buffer.from(line, 'latin1'));
        assert.deepEqual(
          [mount?.source, mount?.mountPoint, mount?.type, rest],
          [Buffer.from(source).toString('latin1'), `/${Buffer.from(point).toString('latin1')}`, 'tmpfs', []],
        );
      }),
    );
  });
});
