import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { unifiedComponents } from '../../../../../attest-server/cli/offline/compute/unified.ts';
import { reference } from '../../../../../attest-server/formats/reference.ts';
import { Rejection } from '../../../../../attest-server/wire/rejection.ts';
import { headerBytes } from '../../../../../swtpm-fixtures/made-pe.ts';
import { namedPe } from './named-pe.ts';

const kernel = namedPe({ '.text': Buffer.alloc(0x200, 0x90) });
const unified = namedPe({
  '.sdmagic': Buffer.from('#### LoaderInfo: systemd-stub 257.1 ####'),
  '.cmdline': Buffer.from('root=/dev/vda ro'),
  '.initrd': Buffer.from('an initrd'),
  '.linux': kernel,
});

/** What is computed is a reference's; anything else is refused by its code. */
function components(bytes: Buffer): number {
  try {
    const found = unifiedComponents(bytes, 'made.efi').map((one) => ({ ...one, scope: 'group' }));
    return reference.shape.components.parse(found).length;
  } catch (error) {
    assert.ok(error instanceof Rejection, String(error));
    return 0;
  }
}

describe('a unified image', () => {
  it('is measured, or refused with its field, whatever stands in its headers', () => {
    assert.equal(components(unified), 7);
    const change = fc.tuple(fc.nat(headerBytes - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
        const bytes = Buffer.from(unified);
        for (const [at, value] of changes) bytes[at] = value;
        components(bytes);
      }),
    );
  });

  it('is measured, or refused with its field, wherever it is cut, and whatever it is', () => {
    fc.assert(fc.property(fc.nat(unified.length), (end) => components(unified.subarray(0, end)) >= 0));
    fc.assert(fc.property(fc.uint8Array({ maxLength: 512 }), (bytes) => components(Buffer.from(bytes)) >= 0));
  });
});
