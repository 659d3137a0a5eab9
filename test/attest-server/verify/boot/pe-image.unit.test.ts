import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { authenticodeDigests } from '../../../../attest-server/verify/boot/pe-image.ts';
import { certificateTableAt, checksumAt, madePe, signedPe } from '../../../../swtpm-fixtures/made-pe.ts';
import { trials } from '../../../trials.ts';
import { rejectionOf } from '../rejection-of.ts';

const sections = [
  { at: 0x800, content: Buffer.alloc(0x200, 0x61) },
  { at: 0x400, content: Buffer.alloc(0x400, 0x62) },
];
const image = (plus: boolean) => madePe(plus, sections, Buffer.from('trailing'));
const sha256 = (bytes: Buffer) => authenticodeDigests(bytes, ['sha256']).sha256;

/** As osslsigncode 2.9 calculates them for the same two files. */
const calculated = [
  [
    true,
    {
      sha1: '94b6b29772b87f80d06d26bde9dd48adb9f063e9',
      sha256: '0f71326ad24345d11a4ee5d16344c9c63077af289b0d710373b3c330a9278a76',
      sha384:
        'd6b8086ca97e9fe5bbf73c3009bebbe3d61a8934b499a10b691476e6aa1efb2a6eeacbe63a1fd6246d9c557081a789a7',
      sha512:
        '8ffda2b983ebd5f60ff08b6aec6d002a43db35f2aff1e77708bebfdc615356115e6c2a3dbd877f1ddde44bdc2d96c3aac71dda86df40952c8531548d606fc995',
    },
  ],
  [
    false,
    {
      sha1: '196bb18650efd73e8ebc1431ded692503865680e',
      sha256: 'dc74c5bf193db3b40534d2564affae91967861d5e7609d46657d614448037edf',
      sha384:
        'a9ab860044cb907217159ac00af3c917472a1bf8fcc2ad151ce9bf8474ab803a9aef5b267af8aeb999a22ad0e79f80e6',
      sha512:
        '9de44f55d3ec5cfea664d3a29738db457d976a4b6de558fc102c1a22f0ebd81b86287abc3accea17ec8d5fb774f78e5d94f2d272873c6eebbe6cda5162510c52',
    },
  ],
] as const;

describe('the Authenticode digest of a PE image', () => {
  for (const [plus, digests] of calculated)
    it(`is what other programs calculate for ${plus ? 'PE32+' : 'PE32'}, sections out of order`, () =>
      assert.deepEqual(authenticodeDigests(image(plus), ['sha1', 'sha256', 'sha384', 'sha512']), digests));

  for (const plus of [true, false])
    it(`does not change when ${plus ? 'a PE32+' : 'a PE32'} image is signed`, () =>
      assert.equal(sha256(signedPe(image(plus), plus, Buffer.alloc(1024, 0x30))), sha256(image(plus))));

  it('changes with any byte of a section and of what follows it', () => {
    for (const at of [0x410, 0x810, image(true).length - 1]) {
      const changed = image(true);
      changed[at] = 0xff;
      assert.notEqual(sha256(changed), sha256(image(true)));
    }
  });

  it('does not change with the checksum', () => {
    const changed = image(true);
    changed.fill(0, checksumAt, checksumAt + 4);
    assert.equal(sha256(changed), sha256(image(true)));
  });

  it('covers an image that has no place for signatures', () => {
    const bare = image(true);
    bare.writeUInt32LE(4, certificateTableAt(true) - 4 * 8 - 4);
    const changed = Buffer.from(bare);
    changed[certificateTableAt(true)] = 1;
    assert.notEqual(sha256(changed), sha256(bare));
  });

  for (const [what, at, value] of [
    ['no MZ', 0, 0],
    ['a PE header past the end', 0x3c, 0xfffffff0],
    ['no PE signature', 0x80, 0],
    ['an optional header of another form', 0x98, 0x0107],
    ['headers past the end', 0x98 + 60, 0x7fffffff],
    ['headers that end before they begin', 0x98 + 60, 0x10],
    ['a section past the end', 0x98 + 240 + 20, 0x7fffffff],
    ['a section larger than the file', 0x98 + 240 + 16, 0xffffffff],
    ['signatures larger than the file', certificateTableAt(true) + 4, 0xffffffff],
  ] as const)
    it(`is refused for ${what}`, () => {
      const bytes = image(true);
      bytes.writeUInt32LE(value, at);
      assert.equal(rejectionOf(() => authenticodeDigests(bytes, ['sha256']))?.code, 'malformed');
    });

  it('is refused where sections overlap, since hashing them would never end', () => {
    const content = Buffer.alloc(0x400, 0x63);
    const bytes = madePe(
      true,
      [...Array(12)].map(() => ({ at: 0x400, content })),
      Buffer.alloc(0),
    );
    assert.equal(rejectionOf(() => authenticodeDigests(bytes, ['sha256']))?.code, 'malformed');
  });

  it('is there or refused, whatever the bytes', () => {
    const alteration = fc.record({ at: fc.nat(0x200), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) });
    fc.assert(
      fc.property(fc.array(alteration, { maxLength: 4 }), fc.nat(0xa10), (alterations, end) => {
        const bytes = image(true);
        for (const { at, bytes: others } of alterations) bytes.set(others, at);
        const cut = bytes.subarray(0, end);
        const refused = rejectionOf(() => authenticodeDigests(cut, ['sha256']));
        assert.ok(refused === null || refused.code === 'malformed');
      }),
      { numRuns: trials(50) },
    );
  });
});
