import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { DigestList } from '../../../attest-server/formats/digest-list.ts';
import type { ListedFile } from '../../../attest-server/formats/packed-list.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { trials } from '../../trials.ts';

/** Few first bytes and short paths: so that digests lie close, and paths share and repeat. */
const digests = fc
  .tuple(fc.constantFrom(20, 32, 48, 64), fc.nat(3), fc.nat(5))
  .map(([length, first, last]) => {
    const digest = Buffer.alloc(length, first);
    digest[length - 1] = last;
    return digest;
  });
const paths = fc
  .array(fc.constantFrom('a', 'b', 'bé', '😀', '\ud7ff', '\ue000', '/'), { minLength: 1, maxLength: 5 })
  .map((pieces) => pieces.join(''));
const files: fc.Arbitrary<ListedFile> = fc.record(
  { digest: digests, path: paths, package: fc.constantFrom(null, 'p 1', 'p 2', 'q') },
  { noNullPrototype: true },
);
const lists = fc.array(files, { maxLength: 60 });

describe('any digest list', () => {
  it('holds the files that it was made of, and no other', () => {
    fc.assert(
      fc.property(lists, digests, paths, (given, otherDigest, otherPath) => {
        const list = DigestList.of(given);
        const pairs = ({ digest, path }: ListedFile): string => `${digest.toString('hex')} ${path}`;
        assert.deepEqual(new Set([...list.files()].map(pairs)), new Set(given.map(pairs)));
        for (const digest of [otherDigest, ...given.map((one) => one.digest)]) {
          const wanted = given.filter((one) => one.digest.equals(digest)).map(({ path }) => path);
          const index = list.find(digest);
          assert.deepEqual(
            new Set(index < 0 ? [] : list.filesOf(index).map(({ path }) => path)),
            new Set(wanted),
          );
        }
        for (const path of [otherPath, ...given.map((one) => one.path)]) {
          const wanted = given.filter((one) => one.path === path).map(({ digest }) => list.find(digest));
          assert.deepEqual(
            list.filesAt(path).map(({ digest }) => list.find(digest)),
            [...new Set(wanted)].sort((a, b) => a - b),
          );
        }
      }),
    );
  });

  it('is the same bytes in any order and after reading', () => {
    const shuffled = lists.chain((given) =>
      fc.tuple(
        fc.constant(given),
        fc.shuffledSubarray(given, { minLength: given.length, maxLength: given.length }),
      ),
    );
    fc.assert(
      fc.property(shuffled, ([given, other]) => {
        const bytes = DigestList.of(given).toBytes();
        assert.deepEqual(DigestList.of(other).toBytes(), bytes);
        assert.deepEqual(DigestList.of(DigestList.fromBytes(bytes).files()).toBytes(), bytes);
      }),
    );
  });
});

describe('the parser of digest lists', () => {
  it('gives a Rejection, or the one list that is written so, for any bytes', () => {
    const changes = fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { maxLength: 4 });
    const anyBytes = fc.tuple(lists, changes, fc.nat(3)).map(([given, changed, cut]) => {
      const bytes = Buffer.from(DigestList.of(given).toBytes());
      for (const [at, value] of changed) bytes[at % bytes.length] = value;
      return bytes.subarray(0, bytes.length - cut);
    });
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        let list: DigestList;
        try {
          list = DigestList.fromBytes(bytes);
        } catch (error) {
          assert(error instanceof Rejection, String(error));
          return;
        }
        assert.deepEqual(DigestList.of(list.files()).toBytes(), bytes);
      }),
      { numRuns: trials(200) },
    );
  });
});
