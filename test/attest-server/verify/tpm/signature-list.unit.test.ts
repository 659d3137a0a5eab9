import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import {
  certificateList,
  digestList,
  signatureEntries,
} from '../../../../attest-server/verify/tpm/signature-list.ts';
import { madeAuthority, signer } from '../made-certificate.ts';

const owner = Buffer.alloc(16, 7);
const authority = madeAuthority(signer('Firmware CA'));
const digest = Buffer.alloc(32, 0xab);
const shown = (bytes: Buffer) =>
  signatureEntries(bytes)?.map(({ kind, digest, subject }) => ({ kind, digest, subject }));

describe('an EFI signature database', () => {
  it('lists certificates by their fingerprint and subject, and digests', () =>
    assert.deepEqual(shown(Buffer.concat([certificateList(owner, authority), digestList(owner, digest)])), [
      { kind: 'certificate', digest: hash('sha256', authority, 'hex'), subject: 'CN=Firmware CA' },
      { kind: 'digest', digest: digest.toString('hex'), subject: null },
    ]));

  it('is empty where it has no bytes', () => assert.deepEqual(shown(Buffer.alloc(0)), []));

  it('names a certificate that cannot be parsed by its fingerprint alone', () => {
    const nonsense = Buffer.from('no certificate');
    assert.deepEqual(shown(certificateList(owner, nonsense)), [
      { kind: 'certificate', digest: hash('sha256', nonsense, 'hex'), subject: null },
    ]);
  });

  it('keeps entries of a type that nobody knows', () => {
    const list = digestList(owner, digest);
    list.fill(0xee, 0, 16);
    assert.deepEqual(shown(list), [{ kind: 'other', digest: hash('sha256', digest, 'hex'), subject: null }]);
  });

  for (const [what, at, value] of [
    ['longer than the database', 16, 1_000_000],
    ['shorter than its own head', 16, 4],
    ['with a head past its end', 20, 0xffffffff],
    ['of entries without a size', 24, 0],
    ['of entries that do not fill it', 24, 47],
  ] as const)
    it(`says nothing where a list is ${what}`, () => {
      const list = digestList(owner, digest);
      list.writeUInt32LE(value, at);
      assert.equal(signatureEntries(list), null);
    });

  it('gives entries or nothing, whatever the bytes', () => {
    const list = Buffer.concat([digestList(owner, digest), certificateList(owner, authority)]);
    const alteration = fc.record({ at: fc.nat(list.length - 9), bytes: fc.uint8Array({ maxLength: 8 }) });
    fc.assert(
      fc.property(alteration, fc.nat(list.length), ({ at, bytes }, end) => {
        const altered = Buffer.from(list);
        altered.set(bytes, at);
        for (const { digest, subject } of signatureEntries(altered.subarray(0, end)) ?? [])
          assert.ok(digest.length > 0 && subject !== '');
      }),
    );
  });
});
