import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { namedDigests } from '../../../attest-server/evidence/named-digests.ts';
import { unpackEvidence } from '../../../attest-server/evidence/unpack.ts';
import { parseBundle } from '../../../attest-server/formats/bundle.ts';
import { verifyBundleEvidence } from '../../../attest-server/verify/bundle-evidence.ts';

/**
 * What version 0.1.0 wrote into its database, and the bundle that it made of each answer: values in the answer, values
 * named, every member there, and keys in the answer itself.
 */
const written: {
  readonly answers: readonly { readonly digest: string; readonly bundle: object }[];
  readonly blobs: Readonly<Record<string, string>>;
} = JSON.parse(readFileSync(join(import.meta.dirname, 'recorded/kept-0.1.0.json'), 'utf8'));
const store = new Map(
  Object.entries(written.blobs).map(([digest, bytes]) => [digest, Buffer.from(bytes, 'base64')]),
);
const read = async (digest: string) => store.get(digest) ?? null;
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe('evidence that an earlier program kept', () => {
  for (const [index, { digest, bundle }] of written.answers.entries()) {
    it(`becomes the bundle that it always was (${index + 1} of ${written.answers.length})`, async () => {
      const unpacked = await unpackEvidence(digest, read);
      assert(unpacked !== null);
      assert.deepEqual(plain(unpacked), plain(parseBundle(JSON.stringify(bundle))));
      assert.equal(verifyBundleEvidence(unpacked, null).akName.length, 68);
    });

    it(`names what it is made of (${index + 1})`, async () => {
      const named = namedDigests(store.get(digest) ?? Buffer.alloc(0));
      assert.equal(named?.at, Date.UTC(2026, 10, 20));
      for (const each of named?.digests ?? []) {
        assert(store.has(each), each);
        const without = async (other: string) => (other === each ? null : read(other));
        const whole = plain(await unpackEvidence(digest, read));
        assert.notDeepEqual(plain(await unpackEvidence(digest, without)), whole);
      }
    });
  }
});
